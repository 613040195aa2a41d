"""Comparing methods that ran on the same seeds, and how a report writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.markdown import minus

__all__ = ["Estimate", "estimate", "interval", "paired_difference", "signed"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, its standard error, and half the width of its 95 % interval.

    Student's t, with seeds − 1 degrees of freedom; ``None`` for a single seed, which says nothing
    of the spread.
    """

    mean: float
    error: float | None
    half_width: float | None

    def excludes_zero(self) -> bool:
        """Whether the 95 % interval lies on one side of zero."""
        return self.half_width is not None and abs(self.mean) > self.half_width

    def side_of_zero(self) -> int:
        """Where the 95 % interval lies: 1 above zero, −1 below, 0 if it holds zero."""
        return (1 if self.mean > 0 else -1) if self.excludes_zero() else 0


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value a seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, None, None)
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return Estimate(mean, error, float(stats.t.ppf(0.975, len(values) - 1)) * error)


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """The mean of ``values − baseline``, seed by seed."""
    return estimate([a - b for a, b in zip(values, baseline, strict=True)])


def signed(value: float, digits: int = 2) -> str:
    """A difference: with its sign."""
    return minus(f"{value:+.{digits}f}")


def interval(difference: Estimate) -> str:
    """The 95 % interval of a difference.

    >>> interval(Estimate(1.0, 0.5, 2.0))
    '[−1.00, +3.00]'
    """
    if difference.half_width is None:
        return "– (one seed)"
    low, high = (difference.mean + s * difference.half_width for s in (-1, 1))
    return f"[{signed(low)}, {signed(high)}]"
