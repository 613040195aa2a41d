"""Means over seeds and paired differences, against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.paired import Estimate, estimate, interval, paired_difference, signed

VALUES = [-24.7, -24.5, -25.1, -24.9]


def test_mean_and_standard_error_are_the_closed_forms() -> None:
    found = estimate([1.0, 2.0, 6.0])
    assert found.mean == pytest.approx(3.0)
    assert found.error == pytest.approx((7 / 3) ** 0.5)  # variance (4 + 1 + 9) / 2, of three


def test_interval_is_scipys_t_interval() -> None:
    found = estimate(VALUES)
    low, high = stats.t.interval(0.95, 3, np.mean(VALUES), stats.sem(VALUES))
    assert found.half_width is not None
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        (low, high)
    )


def test_interval_of_two_seeds_is_tan() -> None:
    # Student's t with one degree of freedom is Cauchy: its 97.5 % point is tan(0.475 π).
    found = estimate([0.0, 2.0])
    assert found.half_width == pytest.approx(np.tan(0.475 * np.pi))


def test_paired_difference_is_scipys_paired_test() -> None:
    baseline = [-24.8, -24.9, -25.0, -25.2]
    found, test = paired_difference(VALUES, baseline), stats.ttest_rel(VALUES, baseline)
    interval = test.confidence_interval(0.95)
    assert found.half_width is not None
    assert found.mean - found.half_width == pytest.approx(interval.low)
    assert found.mean + found.half_width == pytest.approx(interval.high)
    assert found.excludes_zero() == (test.pvalue < 0.05)


def test_what_the_seeds_share_does_not_widen_the_interval() -> None:
    shared = np.array([0.0, 100.0, -50.0])
    gain = np.array([1.0, 1.1, 0.9])
    assert paired_difference(shared + gain, shared).half_width == pytest.approx(
        estimate(gain).half_width
    )


@pytest.mark.parametrize(
    ("values", "excludes"),
    [([1.0, 1.1, 0.9], True), ([-1.0, -1.1, -0.9], True), ([1.0, -1.1, 0.3], False)],
)
def test_zero_is_excluded_on_either_side(values: list[float], excludes: bool) -> None:
    assert estimate(values).excludes_zero() is excludes


def test_equal_values_claim_no_difference() -> None:
    assert not paired_difference(VALUES, VALUES).excludes_zero()


def test_one_seed_has_a_mean_and_no_spread() -> None:
    assert estimate([3.0]) == Estimate(3.0, None, None)
    assert not estimate([3.0]).excludes_zero()


def test_seeds_must_pair() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0, 2.0], [1.0])


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_covers_as_often_as_it_says(seeds: int) -> None:
    # 2000 intervals, each covers with probability 0.95: the count is binomial. Outside of its
    # central 1 − 1e-6 (so rarely does this fail by chance) lies a normal quantile for Student's
    # (0.70, 0.81, 0.88 of the intervals), an error without Bessel's correction, or a wrong √n.
    draws = np.random.default_rng(seeds).normal(-130, 4, (2000, seeds))
    covering = 0
    for values in draws:
        found = estimate(values)
        covering += abs(found.mean + 130) <= found.half_width
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], 2000, 0.95)
    assert low <= covering <= high


def test_an_interval_is_written_with_signs_and_lies_on_a_side_of_zero() -> None:
    assert [Estimate(mean, 1.0, 2.0).side_of_zero() for mean in (3.0, 1.0, -3.0)] == [1, 0, -1]
    assert interval(Estimate(-3.0, 1.0, 2.0)) == "[−5.00, −1.00]"
    assert interval(Estimate(3.0, None, None)) == "– (one seed)"
    assert signed(0.25, 1) == "+0.2"
