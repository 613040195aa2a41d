"""Tests of what is uniform, or symmetric about ½, where posteriors are calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import gammaln, xlogy
from scipy.stats import binom

Points = Float[np.ndarray, "points"]
Counts = Int[np.ndarray, "points"]
Probabilities = Float[np.ndarray, "numbers"]


@dataclass(frozen=True, eq=False)
class UniformCounts:
    """How many of ``count`` independent uniform numbers lie at or below each of ``points``.

    The bands and the test of Säilynoja, Bürkner and Vehtari (2022), by optimisation. At a point t
    the number is binomial, B(count, t), and as far out as its lesser tail is small. A band leaves
    out, at every point, numbers of a tail of γ/2 or less; it is simultaneous where γ is such that
    uniform numbers lie inside at all points together with the probability wanted. The test's
    statistic is the γ at which numbers would just fall out.
    """

    count: int
    points: Points
    """Increasing, in (0, 1)."""

    def band(self, confidence: float) -> tuple[Counts, Counts]:
        """The least and the largest number at each point; uniform numbers lie inside at all points
        with probability ``confidence`` or, as they are discrete, a little more."""
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            if self._inside(middle) >= confidence:
                low = middle
            else:
                high = middle
        return self._limits(low)

    def p_value(self, counts: Counts) -> float:
        """The probability that uniform numbers are as far out, at some point, as ``counts``.

        Exact; above 1 − confidence for counts inside the band, and for no others.
        """
        least = self._tails[np.arange(len(self.points)), counts].min()
        # The one tail alone has that probability: for what is lost in 1 − (nearly 1).
        return float(np.clip(1 - self._inside(least), least / 2, 1.0))

    @cached_property
    def _tails(self) -> Float[np.ndarray, "points numbers"]:
        """Twice the lesser tail of every number that there might be at each point."""
        numbers, points = np.arange(self.count + 1), self.points[:, None]
        at_most = binom.cdf(numbers, self.count, points)
        at_least = binom.sf(numbers - 1, self.count, points)
        return 2 * np.minimum(at_most, at_least)

    def _limits(self, gamma: float) -> tuple[Counts, Counts]:
        inside = self._tails > gamma
        return inside.argmax(1), self.count - inside[:, ::-1].argmax(1)

    def _inside(self, gamma: float) -> float:
        """The probability that all points have tails above γ."""
        if not (self._tails > gamma).any(1).all():
            return 0.0
        return self._probability(*self._limits(gamma))

    def _probability(self, lower: Counts, upper: Counts) -> float:
        """That uniform numbers lie in lower … upper at all points.

        From point to point, with Poisson increments: given their sum they are those of uniform
        numbers, and each step is a convolution.
        """
        rates = self.count * np.diff(self.points, prepend=0.0, append=1.0)
        limits = [*zip(lower.tolist(), upper.tolist(), strict=True), (self.count, self.count)]
        mass, start = np.ones(1), 0
        for rate, (low, high) in zip(rates, limits, strict=True):
            mass = np.convolve(mass, _poisson(high - start, rate))[low - start : high - start + 1]
            start = low
        return float(mass[0] / _poisson(self.count, self.count)[-1])


def symmetry_p_value(probabilities: Probabilities) -> float:
    """The p-value of the test of Kolmogorov and Smirnov's kind that p and 1 − p have one
    distribution: the largest distance between their empirical distribution functions.

    Exact. p and 1 − p are no independent samples, as the two-sample test would have them: from the
    outside inwards, the distance is that of a random walk of the signs of p − ½ (Butler, 1969).
    """
    off = probabilities - 0.5
    walk = np.sign(off[np.argsort(-np.abs(off))]).cumsum()
    return _p_of_maximum(len(off), int(np.abs(walk).max()))


def _p_of_maximum(steps: int, most: int) -> float:
    """P(max |walk| ≥ most) of the random walk of ±1, by reflection at both."""
    passes = np.arange(1, steps // most + 2, 2)  # the odd multiples of `most` in its reach
    signs = np.where(passes % 4 == 1, 1, -1)
    within = _walk_above(steps, passes * most) - _walk_above(steps, (passes + 2) * most - 1)
    return min(1.0, float(2 * _walk_above(steps, most - 1) + 2 * (signs * within).sum()))


def _walk_above(steps: int, value: ArrayLike) -> Any:
    """P(the walk ends above ``value``)."""
    return binom.sf(np.floor((np.asarray(value) + steps) / 2), steps, 0.5)


def _poisson(most: int, rate: float) -> Probabilities:
    """The probabilities of 0 … ``most``."""
    numbers = np.arange(most + 1)
    return np.exp(xlogy(numbers, rate) - rate - gammaln(numbers + 1))
