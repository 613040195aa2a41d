"""The power of ε by which the gap falls, and how well it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["rate_errors", "rates"]

_RESAMPLES = 200


def rates(epsilons: Sequence[float], gaps: NDArray[Any]) -> NDArray[Any]:
    """Between neighbouring ε, [ε − 1, …] for gaps [ε, …].

    >>> rates([0.1, 0.01], np.array([1.0, 0.01]))
    array([2.])
    """
    steps = np.diff(np.log(epsilons))
    return np.diff(np.log(gaps), axis=0) / steps.reshape(-1, *[1] * (gaps.ndim - 1))


def rate_errors(epsilons: Sequence[float], gaps: NDArray[Any]) -> NDArray[Any]:
    """Standard errors of the medians' rates, [ε − 1], for gaps of the same points, [ε, points].

    By the bootstrap: points are drawn again, with all their gaps.
    """
    points = gaps.shape[1]
    drawn = np.random.default_rng(0).integers(points, size=(_RESAMPLES, points))
    medians = np.stack([np.median(gaps[:, rows], axis=1) for rows in drawn], -1)
    return rates(epsilons, medians).std(-1, ddof=1)
