"""Comparing methods that ran on the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

__all__ = ["Estimate", "estimate", "paired_difference"]


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
