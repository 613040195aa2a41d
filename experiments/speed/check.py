"""Whether a contender computes the same loss as the others, and lowers it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Check"]

_MOST = 5.0  # standard errors; by chance once in two million checks


@dataclass(frozen=True)
class Check:
    """The mean of a contender's losses on one batch, and of those they are compared with."""

    mean: float
    error: float
    reference: float
    reference_error: float

    @classmethod
    def of(cls, losses: Sequence[float], reference: Sequence[float]) -> Check:
        """From many draws of each."""
        return cls(*_mean_and_error(losses), *_mean_and_error(reference))

    @property
    def deviation(self) -> float:
        """The difference in standard errors."""
        return (self.mean - self.reference) / math.hypot(self.error, self.reference_error)

    @property
    def agrees(self) -> bool:
        """Whether the two means are the same but for chance."""
        return abs(self.deviation) <= _MOST

    @property
    def is_below(self) -> bool:
        """Whether the first mean is lower by more than chance explains, but for once in a 1000."""
        return self.deviation < -3.0

    def __str__(self) -> str:
        return (
            f"loss {self.mean:.2f} ± {self.error:.2f} on a batch where the reference is "
            f"{self.reference:.2f} ± {self.reference_error:.2f}: {self.deviation:+.1f} s.e."
        )


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    with np.errstate(invalid="ignore"):  # an infinity or NaN agrees with nothing
        return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))
