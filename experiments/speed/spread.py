"""Medians of repeated measurements, and how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["median", "median_interval", "quartiles", "ratios"]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return float(np.median(values))


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third."""
    low, high = np.percentile(values, [25, 75])
    return float(low), float(high)


def ratios(values: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """``values / baseline``, round by round: what slows the machine in a round slows both."""
    return [a / b for a, b in zip(values, baseline, strict=True)]


def median_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """An interval that holds the median of what ``values`` are drawn from, whatever that is.

    Its ends are two of the values, the k-th smallest and the k-th greatest; it misses with
    probability 2 P(Binomial(n, ½) < k) at the most. Where even the whole range is missed more often
    than ``1 - level`` (fewer than six values), it is the range.
    """
    ordered, count = sorted(values), len(values)
    k, missed = 0, 2 * 0.5**count
    while missed <= 1 - level:
        k += 1
        missed += 2 * math.comb(count, k) * 0.5**count
    k = max(k - 1, 0)
    return ordered[k], ordered[count - 1 - k]
