"""Learning-rate schedules, in fractions of the run, so that they hold for any length."""

from __future__ import annotations

from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

__all__ = ["Schedule", "cosine_decay", "step_decay"]

Schedule = Callable[[Optimizer, int], LRScheduler]
"""Makes a scheduler of torch's from an optimizer and the run's number of steps; it is stepped once
an optimizer step."""


def step_decay(*fractions: float, factor: float = 0.5) -> Schedule:
    """Multiply the rate by ``factor`` at each fraction of the run.

    ``step_decay(0.6, 0.7, 0.8, 0.9)`` is the schedule of Yu's two-dimensional experiments.
    """
    if not all(0 < fraction < 1 for fraction in fractions):
        raise ValueError(f"fractions: expected numbers between 0 and 1; got {fractions}.")
    return lambda optimizer, steps: MultiStepLR(
        optimizer, [round(fraction * steps) for fraction in fractions], factor
    )


def cosine_decay(final: float = 0.0) -> Schedule:
    """Along half a cosine from the optimizer's rate to ``final``."""
    return lambda optimizer, steps: CosineAnnealingLR(optimizer, steps, final)
