"""Where a NaN or an infinity is."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from pyro_vae.objectives import Particles

__all__ = ["term_of_bound", "term_of_gradient", "term_of_weights"]


def term_of_bound(particles: Particles) -> str:
    """The first log-probability that is not finite."""
    return _first(particles.terms().items()) or "the bound"


def term_of_gradient(parameters: Iterable[tuple[str, Tensor]]) -> str:
    """The first of the named parameters whose gradient is not finite."""
    gradients = ((n, p.grad) for n, p in parameters if p.grad is not None)
    name = _first(gradients)
    return f"the gradient of {name}" if name else "the gradient's norm"


def term_of_weights(pair: nn.Module) -> str | None:
    """The first parameter that is not finite; ``None`` where all are."""
    name = _first(pair.named_parameters())
    return f"the weights {name}" if name else None


def _first(named: Iterable[tuple[str, Tensor]]) -> str | None:
    return next((name for name, value in named if not value.isfinite().all()), None)
