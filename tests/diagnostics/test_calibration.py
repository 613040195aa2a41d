"""Calibration of exact guides, of guides wrong in a known way, and of the tests themselves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy import stats
from torch import Tensor, nn

from pyro_vae import (
    VAE,
    NormalLikelihood,
    PairError,
    StandardNormalPrior,
    UniformGuide,
)
from pyro_vae._errors import NonFiniteError, ShapeError
from pyro_vae.diagnostics._uniformity import UniformCounts, symmetry_p_value
from pyro_vae.diagnostics.calibration import (
    CalibrationResult,
    simulation_based_calibration,
    variational_sbc,
)
from pyro_vae.diagnostics.coverage import expected_coverage
from pyro_vae.diagnostics.density import log_density
from pyro_vae.diagnostics.predictive import posterior_predictive_check
from pyro_vae.testing import linear_gaussian
from tests.registry import DATA, GUIDES, LIKELIHOODS, PRIORS, PRIORS_FOR_GUIDES, encoder

# What holds for a calibrated guide is tested at this confidence: by chance it fails once in a
# thousand seeds, for all quantities of a result together. The seeds are fixed. What is rejected
# here is so far from calibrated that its simulations miss it less than once in a million seeds.
CONFIDENCE = 0.999

CHECKS = [simulation_based_calibration, variational_sbc, expected_coverage]

pytestmark = pytest.mark.usefixtures("float64")

Program = Callable[[Tensor], object]


class Scalar:
    """z ~ N(0, 1), x ~ N(z, 1); the posterior is N(x/2, ½), the guide's scale and place are off."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0, size: int = 500) -> None:
        self.scale, self.shift, self.x = scale, shift, torch.zeros(size)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        deviation = 0.5**0.5
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2 + self.shift * deviation, self.scale * deviation))


class Hierarchy:
    """u ~ N(0, 1), v ~ N(u, 1), x ~ N(v, 1). The posterior has means x/3 and 2x/3, variances ⅔ and
    a covariance of ⅓; the guide a correlation of ``correlation`` in place of ½."""

    def __init__(self, correlation: float = 0.5) -> None:
        self.correlation, self.x = correlation, torch.zeros(250)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            v = pyro.sample("v", dist.Normal(u, 1.0))
            pyro.sample("x", dist.Normal(v, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        c = self.correlation
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(x / 3, (2 / 3) ** 0.5))
            of_v = 2 * x / 3 + c * (u - x / 3)
            pyro.sample("v", dist.Normal(of_v, ((1 - c**2) * 2 / 3) ** 0.5))


def prior_as_guide(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(0.0, 1.0))


# ── bands and p-values ──────────────────────────────────────────────────────────────────────────


def counts_below(numbers: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[simulations, points] of uniform numbers [simulations, count]."""
    return (numbers[:, :, None] <= points).sum(1)


def test_the_uniformity_p_value_is_that_of_enumeration():
    count, points = 5, np.array([0.15, 0.4, 0.8])
    cells = np.diff(points, prepend=0, append=1)
    outcomes = [c for c in itertools.product(range(count + 1), repeat=4) if sum(c) == count]
    probabilities = stats.multinomial(count, cells).pmf(outcomes)
    below = np.cumsum(outcomes, axis=1)[:, :3]
    at_most, at_least = (
        stats.binom.cdf(below, count, points),
        stats.binom.sf(below - 1, count, points),
    )
    statistic = np.minimum(at_most, at_least).min(1)
    uniform = UniformCounts(count, points)
    for counts, value in zip(below, statistic, strict=True):
        expected = probabilities[statistic <= value * (1 + 1e-9)].sum()
        assert uniform.p_value(counts) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("count", "points"), [(100, 9), (300, 49), (20, 99)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_uniform_numbers_are_inside_the_band_as_often_as_it_says(count, points, confidence):
    simulations = 4000
    at = np.arange(1, points + 1) / (points + 1)
    lower, upper = UniformCounts(count, at).band(confidence)
    below = counts_below(np.random.default_rng(1).random((simulations, count)), at)
    inside = ((lower <= below) & (below <= upper)).all(1).mean()
    # Five standard errors: fails by chance once in 3·10⁶ seeds. Counts are discrete, so a band may
    # hold a little more than it says, most where a half lies outside.
    error = math.sqrt(confidence * (1 - confidence) / simulations)
    assert -5 * error < inside - confidence < 5 * error + 0.01


def test_counts_are_inside_the_band_where_their_p_value_says_so():
    rng, at = np.random.default_rng(2), np.arange(1, 20) / 20
    uniform = UniformCounts(150, at)
    lower, upper = uniform.band(0.9)
    below = counts_below(rng.beta(1.0, 1.15, size=(200, 150)), at)
    inside = ((lower <= below) & (below <= upper)).all(1)
    assert 20 < inside.sum() < 180
    np.testing.assert_array_equal([uniform.p_value(each) > 0.1 for each in below], inside)


def test_a_p_value_far_out_is_small_and_not_zero():
    at = np.arange(1, 100) / 100
    p = UniformCounts(1000, at).p_value(np.linspace(210, 1000, 99).astype(int))
    assert 0 < p < 1e-100


def test_the_symmetry_p_value_is_that_of_all_signs():
    distances = np.array([0.05, 0.1, 0.17, 0.2, 0.26, 0.31, 0.38, 0.41, 0.49])
    signs = np.array([*itertools.product([-1, 1], repeat=len(distances))])
    mirrored = 0.5 + signs * distances
    statistic = np.array([stats.ks_2samp(p, 1 - p).statistic for p in mirrored])
    for p, value in zip(mirrored[::37], statistic[::37], strict=True):
        expected = (statistic >= value - 1e-9).mean()
        assert symmetry_p_value(p) == pytest.approx(expected, rel=1e-9)


# ── exact guides ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("check", CHECKS)
def test_an_exact_guide_is_calibrated(check):
    pair = linear_gaussian(3, num_data=250, dtype=torch.float64)
    quantities = {"log p(x, z)": log_density(pair.model)}
    result = check(pair.model, pair.guide, pair.x, quantities=quantities, confidence=CONFIDENCE)
    assert result.calibrated, str(result)
    assert set(result.verdicts.values()) == {"calibrated"}
    assert result.names[:4] == ("z[0]", "z[1]", "z[2]", "log p(x, z)")
    assert str(result).endswith(
        f"no fault in {len(result.names)} quantities (least p {result.p_values.min():.2g})."
    )


@pytest.mark.parametrize("check", CHECKS)
def test_an_exact_guide_of_correlated_latents_is_calibrated(check):
    pair = linear_gaussian(orthogonal=False, num_data=250, dtype=torch.float64)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", pair.posterior(x))

    quantities = {"log p(x, z)": log_density(pair.model)}
    result = check(pair.model, guide, pair.x, quantities=quantities, confidence=CONFIDENCE)
    assert result.calibrated, str(result)


@pytest.mark.parametrize("check", CHECKS)
def test_an_exact_guide_of_two_latent_sites_is_calibrated(check):
    pair = Hierarchy()
    result = check(pair.model, pair.guide, pair.x, confidence=CONFIDENCE)
    assert result.names[:2] == ("u", "v")
    assert result.calibrated, str(result)


def test_an_exact_guide_covers_at_the_nominal_level():
    pair = linear_gaussian(num_data=500, dtype=torch.float64)
    result = expected_coverage(pair.model, pair.guide, pair.x, num_simulations=2000)
    np.testing.assert_allclose(result.levels, np.arange(0.05, 0.96, 0.05))
    assert result.names == ("z[0]", "z[1]", "joint")
    # Four errors of 57 levels: fails by chance once in 280 seeds.
    assert (np.abs(result.coverage.T - result.levels) < 4 * result.error.T).all()


def test_an_exact_guide_of_discrete_latents_is_calibrated_and_another_is_not():
    chance, x = 0.3, torch.zeros(500)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(chance)))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor, off: float = 0.0) -> None:
        prior = math.log(chance / (1 - chance))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Bernoulli(logits=prior + x - 0.5 + off))

    assert simulation_based_calibration(model, guide, x, confidence=CONFIDENCE).calibrated
    wrong = simulation_based_calibration(model, lambda x: guide(x, 1.0), x, confidence=CONFIDENCE)
    assert wrong.verdicts == {"z": "too high"}


def test_among_equals_a_rank_is_any():
    pair = Scalar()
    result = simulation_based_calibration(
        pair.model,
        pair.guide,
        pair.x,
        quantities={"one": lambda z, x: torch.ones_like(z["z"])},
        num_draws=3,
        confidence=CONFIDENCE,
    )
    assert result.calibrated, str(result)
    assert set(result.ranks[:, 1]) == {0, 1, 2, 3}


# ── wrong guides ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scale", "shift", "ranks", "symmetry", "coverage"),
    [
        (0.7, 0.0, "too narrow", "calibrated", "over-confident"),
        (1.4, 0.0, "too wide", "calibrated", "under-confident"),
        (1.0, 0.6, "too high", "too high", "over-confident"),
        (1.0, -0.6, "too low", "too low", "over-confident"),
    ],
)
def test_a_wrong_guide_is_rejected_and_the_verdict_says_how(
    scale, shift, ranks, symmetry, coverage
):
    pair = Scalar(scale, shift)
    found = [
        check(pair.model, pair.guide, pair.x, confidence=CONFIDENCE, num_simulations=2000).verdicts
        for check in CHECKS
    ]
    assert found == [{"z": ranks}, {"z": symmetry}, {"z": coverage, "joint": coverage}]


def ranks_of(scale: float, shift: float) -> CalibrationResult:
    """Of a normal guide ``scale`` times as wide as the posterior, ``shift`` of its deviations off.

    Not drawn: 1,000 quantiles of the truth, and the ranks that are expected of 99 draws.
    """
    truth = stats.norm.ppf((np.arange(1000) + 0.5) / 1000)
    below = stats.norm.cdf((truth - shift) / scale)
    ranks = np.minimum((100 * below).astype(int), 99)
    return CalibrationResult(("z",), CONFIDENCE, ranks[:, None], 99)


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0, 3.0, 5.0, 10.0])
@pytest.mark.parametrize(("sign", "verdict"), [(1, "too high"), (-1, "too low")])
def test_a_shifted_guide_of_the_right_width_is_shifted_however_far(shift, sign, verdict):
    assert ranks_of(1.0, sign * shift).verdicts == {"z": verdict}


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.7, 1.4, 2.0, 3.0])
@pytest.mark.parametrize("shift", [-0.1, 0.0, 0.1])
def test_a_guide_of_another_width_is_narrow_or_wide(scale, shift):
    expected = "too narrow" if scale < 1 else "too wide"
    assert ranks_of(scale, shift).verdicts == {"z": expected}


@pytest.mark.parametrize(
    ("scale", "shift", "verdict"),
    [
        (0.3, 0.5, "too narrow"),
        (0.3, 1.0, "too high"),
        (0.3, -10.0, "too low"),  # each draw on one side: of their width nothing is seen
        (0.7, 0.5, "too high"),
        (0.7, -5.0, "too low"),
        (1.5, 0.3, "too wide"),
        (1.5, 2.0, "too high"),
        (3.0, 1.0, "too wide"),
        (3.0, -5.0, "too low"),
        (3.0, 10.0, "too high"),
    ],
)
def test_of_a_shift_and_a_width_the_one_that_shows_most_is_told(scale, shift, verdict):
    assert ranks_of(scale, shift).verdicts == {"z": verdict}


@pytest.mark.parametrize(("shift", "verdict"), [(5.0, "too high"), (-5.0, "too low")])
def test_a_guide_far_off_is_not_called_narrow(shift, verdict):
    pair = Scalar(shift=shift)
    result = simulation_based_calibration(pair.model, pair.guide, pair.x, num_simulations=500)
    assert result.verdicts == {"z": verdict}


def test_of_several_latents_the_wrong_one_is_named():
    pair = linear_gaussian(3, num_data=250, dtype=torch.float64)
    scale = torch.tensor([1.0, 0.6, 1.0])

    def guide(x: Tensor) -> None:
        q = pair.guide.posterior(x).base_dist
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(q.loc, scale * q.scale).to_event(1))

    result = simulation_based_calibration(pair.model, guide, pair.x, confidence=CONFIDENCE)
    assert result.verdicts == {"z[0]": "calibrated", "z[1]": "too narrow", "z[2]": "calibrated"}
    np.testing.assert_array_equal(result.passed, [True, False, True])
    assert "1 of 3 at fault: z[1] too narrow (p " in str(result)


def test_of_many_faults_the_worst_are_told():
    pair = linear_gaussian(7, 8, num_data=100, dtype=torch.float64)

    def guide(x: Tensor) -> None:
        q = pair.guide.posterior(x).base_dist
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(q.loc, 0.3 * q.scale).to_event(1))

    result = simulation_based_calibration(pair.model, guide, pair.x)
    assert "7 of 7 at fault: " in str(result)
    assert str(result).endswith(", 2 more.")


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.4])
def test_coverage_is_the_closed_form_of_a_guide_of_another_width(scale):
    pair = Scalar(scale, size=1000)
    result = expected_coverage(
        pair.model, pair.guide, pair.x, num_simulations=4000, num_draws=999, seed=1
    )
    c = result.levels
    expected = 2 * stats.norm.cdf(scale * stats.norm.ppf((1 + c) / 2)) - 1
    error = np.sqrt(expected * (1 - expected) / 4000)
    # Four errors of 38 levels: each fails by chance once in 400 seeds. A thousandth for the draws.
    assert (np.abs(result.coverage.T - expected) < 4 * error + 1e-3).all()


def test_joint_coverage_is_the_closed_form_of_a_guide_of_another_width():
    pair, scale = linear_gaussian(3, num_data=500, dtype=torch.float64), 0.8

    def guide(x: Tensor) -> None:
        q = pair.guide.posterior(x).base_dist
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(q.loc, scale * q.scale).to_event(1))

    result = expected_coverage(pair.model, guide, pair.x, num_simulations=4000, num_draws=499)
    radius = stats.chi2(3)
    expected = radius.cdf(scale**2 * radius.ppf(result.levels))
    error = np.sqrt(expected * (1 - expected) / 4000)
    # Four errors of 19 levels: fails by chance once in 800 seeds. A five-hundredth for the draws.
    assert (np.abs(result.coverage[:, -1] - expected) < 4 * error + 2e-3).all()


def test_a_guide_that_ignores_the_data_passes_in_z_and_fails_in_the_log_joint():
    pair = Scalar()
    result = simulation_based_calibration(
        pair.model,
        prior_as_guide,
        pair.x,
        quantities={"log p(x, z)": log_density(pair.model)},
        confidence=CONFIDENCE,
    )
    np.testing.assert_array_equal(result.passed, [True, False])
    # A share of the draws that is too small has a log joint as high as the truth's.
    assert result.verdicts["log p(x, z)"] == "too low"


def test_a_wrong_correlation_shows_in_what_sees_all_latents():
    pair = Hierarchy(correlation=-0.5)
    quantities = {"v − u": lambda z, x: z["v"] - z["u"]}
    result = expected_coverage(
        pair.model, pair.guide, pair.x, quantities=quantities, confidence=CONFIDENCE
    )
    assert result.verdicts["u"] == result.verdicts["v"] == "calibrated"
    # Var(v − u) is ⅔ where the guide has 2.
    assert result.verdicts["v − u"] == "under-confident"
    assert result.verdicts["joint"] == "over-confident"


def test_coverage_too_low_and_too_high_is_both():
    pair = Scalar()

    def guide(x: Tensor) -> None:
        """Two narrow parts where the posterior's quartiles are: the middle and the tails miss."""
        off = 0.6745 * 0.5**0.5 * torch.tensor([-1.0, 1.0])
        with pyro.plate("data", len(x), dim=-1):
            parts = dist.Normal(x[:, None] / 2 + off, 0.05)
            pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.ones(len(x), 2)), parts))

    result = expected_coverage(pair.model, guide, pair.x, joint=False)
    assert result.verdicts == {"z": "over- and under-confident"}
    low, high = result.band()
    assert (result.coverage[:, 0] < low).any()
    assert (result.coverage[:, 0] > high).any()


# ── what a result holds ─────────────────────────────────────────────────────────────────────────


def test_the_ecdf_is_that_of_the_ranks_and_passes_where_it_is_inside_the_band():
    pair = Scalar(0.85, size=100)
    for seed in range(6):
        result = simulation_based_calibration(
            pair.model, pair.guide, pair.x, num_simulations=300, num_draws=19, seed=seed
        )
        assert result.ranks.shape == (300, 1)
        assert result.ranks.min() == 0
        assert result.ranks.max() == 19
        np.testing.assert_allclose(result.points, np.arange(0.05, 0.96, 0.05))
        expected = [(result.ranks[:, 0] < i).mean() for i in range(1, 20)]
        np.testing.assert_allclose(result.ecdf[:, 0], expected)
        low, high = result.band()
        inside = ((low <= result.ecdf[:, 0]) & (result.ecdf[:, 0] <= high)).all()
        assert inside == result.calibrated


def test_many_quantities_of_a_calibrated_guide_pass_together_as_often_as_the_confidence_says():
    names, rng = tuple(f"z[{i}]" for i in range(20)), np.random.default_rng(3)
    passed = [
        CalibrationResult(names, 0.8, rng.integers(10, size=(50, 20)), 9).calibrated
        for _ in range(300)
    ]
    # Five standard errors: fails by chance once in 3·10⁶ seeds. A test a quantity would give 0.01.
    assert np.mean(passed) > 0.8 - 5 * math.sqrt(0.8 * 0.2 / 300)


def test_the_three_checks_read_the_same_ranks():
    pair = Scalar(0.8)
    ranks, symmetry, coverage = (
        check(pair.model, pair.guide, pair.x, num_simulations=500) for check in CHECKS
    )
    below = 100 * (1 - symmetry.probabilities)
    np.testing.assert_array_equal(np.floor(below), ranks.ranks)
    counts = (np.abs(below[:, :1] / 50 - 1) <= coverage.levels).sum(0)
    np.testing.assert_array_equal(coverage.counts[:, 0], counts)
    assert {r.num_simulations for r in (ranks, symmetry, coverage)} == {500}


def test_the_error_of_coverage_is_binomial():
    pair = Scalar()
    result = expected_coverage(pair.model, pair.guide, pair.x, num_simulations=400, levels=[0.5])
    share = result.counts / 400
    np.testing.assert_allclose(result.error, np.sqrt(share * (1 - share) / 400))


# ── any pair ────────────────────────────────────────────────────────────────────────────────────


def recorded(results: list[tuple[Tensor, Tensor]]) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """A quantity that keeps what it is given of z and x."""

    def quantity(z: dict[str, Tensor], x: Tensor) -> Tensor:
        results.append((z["z"].clone(), x.clone()))
        return z["z"].reshape(*z["z"].shape[:2], -1).sum(-1)

    return quantity


def test_data_are_of_the_z_that_is_ranked():
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Delta(3 * z, event_dim=1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Delta(x / 3 + torch.tensor([-1e-3, 1e-3]), event_dim=1))

    result = simulation_based_calibration(
        model, guide, torch.zeros(7, 2), num_simulations=20, num_draws=5
    )
    np.testing.assert_array_equal(result.ranks, np.tile([5, 0], (20, 1)))


def test_several_observed_sites_are_put_together_by_rebuild():
    x = torch.zeros(500, 2)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("a", dist.Normal(z, 1.0), obs=x[:, 0])
            pyro.sample("b", dist.Normal(2 * z, 1.0), obs=x[:, 1])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal((x[:, 0] + 2 * x[:, 1]) / 6, 6**-0.5))

    def rebuild(sites: dict[str, Tensor]) -> Tensor:
        return torch.stack([sites["a"], sites["b"]], dim=1)

    result = simulation_based_calibration(model, guide, x, rebuild=rebuild, confidence=CONFIDENCE)
    assert result.calibrated, str(result)
    with pytest.raises(PairError, match=r"one observed site.*got \['a', 'b'\]. Give rebuild="):
        simulation_based_calibration(model, guide, x)
    with pytest.raises(ShapeError, match=r"shape of x, \[500, 2\]; got \[2, 500\]"):
        simulation_based_calibration(model, guide, x, rebuild=lambda s: rebuild(s).T)


def test_covariates_stay_in_x():
    """A model of x given y, a column beside: z ~ N(y, 1), x ~ N(z, 1)."""
    data = torch.stack([torch.zeros(500), torch.linspace(-5, 5, 500)], dim=1)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x[:, 1], 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.mean(1), 0.5**0.5))

    def rebuild(sites: dict[str, Tensor]) -> Tensor:
        return torch.stack([sites["x"], data[:, 1]], dim=1)

    result = simulation_based_calibration(
        model, guide, data, rebuild=rebuild, confidence=CONFIDENCE
    )
    assert result.calibrated, str(result)
    with pytest.raises(ShapeError, match=r"at site 'x' what fills data of shape \[500, 2\]"):
        simulation_based_calibration(model, guide, data)


def test_a_plate_beside_the_data_is_a_dim_of_the_latents():
    x = torch.zeros(3, 200)

    def model(x: Tensor) -> None:
        with pyro.plate("data", x.shape[1], dim=-1):
            level = pyro.sample("level", dist.Normal(0.0, 1.0))
            with pyro.plate("time", 3, dim=-2):
                z = pyro.sample("z", dist.Normal(level, 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor, scale: Tensor | float = 1.0) -> None:
        """level | x is N(0.6 x̄, 0.4), z | level, x is N((x + level)/2, ½)."""
        with pyro.plate("data", x.shape[1], dim=-1):
            level = pyro.sample("level", dist.Normal(0.6 * x.mean(0), 0.4**0.5))
            with pyro.plate("time", 3, dim=-2):
                pyro.sample("z", dist.Normal((x + level) / 2, scale * 0.5**0.5))

    result = expected_coverage(
        model,
        guide,
        x,
        max_plate_nesting=2,
        quantities={"log p(x, z)": log_density(model, max_plate_nesting=2)},
        confidence=CONFIDENCE,
    )
    assert result.names == ("level", "z[0]", "z[1]", "z[2]", "log p(x, z)", "joint")
    assert result.calibrated, str(result)
    with pytest.raises(PairError, match=r"= 1 dims; got 2. Give max_plate_nesting=2"):
        simulation_based_calibration(model, guide, x)
    narrow = torch.tensor([[1.0], [0.3], [1.0]])
    wrong = simulation_based_calibration(
        model, lambda x: guide(x, narrow), x, max_plate_nesting=2, confidence=CONFIDENCE
    )
    np.testing.assert_array_equal(wrong.passed, [True, True, False, True])


def test_sites_in_a_sequential_plate():
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            for i in pyro.plate("coordinates", 2):
                z = pyro.sample(f"z_{i}", dist.Normal(0.0, 1.0))
                pyro.sample(f"x_{i}", dist.Normal(z, 1.0), obs=x[:, i])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            for i in pyro.plate("coordinates", 2):
                pyro.sample(f"z_{i}", dist.Normal(x[:, i] / 2, 0.5**0.5))

    def rebuild(sites: dict[str, Tensor]) -> Tensor:
        return torch.stack([sites["x_0"], sites["x_1"]], dim=1)

    x = torch.zeros(500, 2)
    result = expected_coverage(model, guide, x, rebuild=rebuild, confidence=CONFIDENCE)
    assert result.names == ("z_0", "z_1", "joint")
    assert result.calibrated, str(result)


def test_image_shaped_data_and_latents():
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
            pyro.sample("x", dist.Normal(z[..., None, :, :], 1.0).to_event(3), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x[:, 0] / 2, 0.5**0.5).to_event(2))

    x = torch.zeros(300, 1, 2, 3)
    result = expected_coverage(model, guide, x, num_simulations=600, confidence=CONFIDENCE)
    assert result.names[:3] == ("z[0, 0]", "z[0, 1]", "z[0, 2]")
    assert result.calibrated, str(result)


def test_simulated_data_have_the_type_and_shape_of_x():
    seen: list[tuple[Tensor, Tensor]] = []

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Gamma(2.0, 1.0))
            pyro.sample("x", dist.Poisson(z), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Gamma(2.0 + x[:, 0], 2.0))

    x = torch.zeros(250, 1, dtype=torch.int32)
    result = simulation_based_calibration(
        model, guide, x, quantities={"sum": recorded(seen)}, confidence=CONFIDENCE
    )
    assert {(data.dtype, data.shape) for _, data in seen} == {(x.dtype, x.shape)}
    assert result.calibrated, str(result)


def test_single_precision():
    pair = linear_gaussian(num_data=100)
    result = expected_coverage(pair.model, pair.guide, pair.x, confidence=CONFIDENCE)
    assert result.calibrated, str(result)


def check_a_vae(vae: VAE, x: Tensor, joint: bool) -> None:
    quantities = {"log p(x, z)": log_density(vae.model)}
    size = {"num_simulations": 20, "num_draws": 9}
    result = expected_coverage(vae.model, vae.guide, x, quantities=quantities, joint=joint, **size)
    names = ("z[0]", "z[1]", "log p(x, z)", "joint")
    assert result.names == (names if joint else names[:-1])
    assert (np.diff(result.counts, axis=0) >= 0).all()
    assert result.counts[-1].max() > 0
    statistics = {"mean": lambda x: x.mean(1)}
    check = posterior_predictive_check(vae.model, vae.guide, x, statistics, num_draws=3)
    assert check.replicated.shape == (1, 3, len(x))


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_can_be_checked(name):
    guide = GUIDES[name]()
    prior = PRIORS_FOR_GUIDES.get(type(guide).__name__, PRIORS["StandardNormalPrior"])()
    x = torch.rand(8, DATA)
    vae = VAE(prior=prior, likelihood=LIKELIHOODS["NormalLikelihood"](), guide=guide)
    check_a_vae(vae, x, guide.capabilities.scores_given)


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_can_be_checked(name):
    guide = GUIDES["NormalGuide"]() if name != "VampPrior" else None
    prior = PRIORS[name]()
    guide = prior.guide if guide is None else guide
    vae = VAE(prior=prior, likelihood=LIKELIHOODS["NormalLikelihood"](), guide=guide).double()
    check_a_vae(vae, torch.rand(8, DATA), joint=True)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_can_be_checked(name):
    vae = VAE(
        prior=StandardNormalPrior(2), likelihood=LIKELIHOODS[name](), guide=GUIDES["NormalGuide"]()
    )
    check_a_vae(vae, torch.bernoulli(torch.full((8, DATA), 0.5)), joint=True)


def test_a_guide_without_inverse_is_ranked_but_has_no_joint_coverage():
    guide = GUIDES["FlowGuide, planar"]()
    vae = VAE(
        prior=StandardNormalPrior(2), likelihood=NormalLikelihood(nn.Linear(2, DATA)), guide=guide
    )
    x = torch.rand(8, DATA)
    with pytest.raises(ValueError, match="a transform of it has no inverse"):
        expected_coverage(vae.model, vae.guide, x, num_simulations=8)
    result = expected_coverage(vae.model, vae.guide, x, num_simulations=8, joint=False)
    assert result.names == ("z[0]", "z[1]")


def test_a_truth_off_the_support_of_the_guide_is_in_none_of_its_sets():
    pair = Scalar()

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Gamma(torch.full_like(x, 3.0), 1.0))

    result = expected_coverage(pair.model, guide, pair.x, levels=[0.5, 0.98])
    # z* ~ N(0, 1) is negative half of the time; a set of the level 98 % holds none of those.
    assert 0.4 < result.coverage[1, 1] < 0.6


# ── densities ───────────────────────────────────────────────────────────────────────────────────


def test_the_log_density_is_that_of_model_and_guide():
    pair = linear_gaussian(dtype=torch.float64)
    z = torch.randn(3, 20, 2)
    prior = dist.Normal(torch.zeros(2), 1.0).to_event(1).log_prob(z)
    log_joint = prior + pair.likelihood(z).log_prob(pair.x)
    torch.testing.assert_close(log_density(pair.model)({"z": z}, pair.x), log_joint)
    log_q = pair.guide.posterior(pair.x).log_prob(z)
    torch.testing.assert_close(log_density(pair.guide)({"z": z}, pair.x), log_q)


def test_the_log_density_is_masked_and_not_scaled():
    pair = linear_gaussian(dtype=torch.float64)
    z, mask = torch.randn(3, 20, 2), torch.arange(20) < 5
    model = poutine.scale(poutine.mask(pair.model, mask), 100.0)
    expected = log_density(pair.model)({"z": z}, pair.x) * mask
    torch.testing.assert_close(log_density(model)({"z": z}, pair.x), expected)


def test_the_log_density_is_minus_infinity_off_the_support():
    guide = UniformGuide(encoder(4))
    x = torch.rand(5, DATA)
    far = torch.full((1, 5, 2), 1e6)
    assert (log_density(guide)({"z": far}, x) == -math.inf).all()
    inside = guide.posterior(x).mean[None]
    torch.testing.assert_close(
        log_density(guide)({"z": inside}, x), guide.posterior(x).log_prob(inside)
    )


def test_a_guide_with_auxiliary_sites_has_no_log_density():
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(x / 2, 0.5), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(u, 0.5))

    pair = Scalar()  # u adds up to the exact posterior
    with pytest.raises(PairError, match=r"got none for \['u'\].*joint=False"):
        expected_coverage(pair.model, guide, pair.x)
    result = expected_coverage(pair.model, guide, pair.x, joint=False, confidence=CONFIDENCE)
    assert result.calibrated, str(result)


# ── random numbers, state, memory ───────────────────────────────────────────────────────────────


def test_the_seed_decides_everything():
    pair = Scalar(size=50)
    first, second, other = (
        simulation_based_calibration(pair.model, pair.guide, pair.x, seed=seed, num_simulations=120)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.ranks, second.ranks)
    assert (first.ranks != other.ranks).any()
    assert len(first.ranks) == 120  # of three batches, the last one cut


def test_what_is_simulated_does_not_depend_on_draws_chunks_or_how_many_simulations():
    pair = Scalar(size=10)

    def simulated(**options: int) -> tuple[Tensor, Tensor]:
        seen: list[tuple[Tensor, Tensor]] = []
        simulation_based_calibration(
            pair.model, pair.guide, pair.x, quantities={"sum": recorded(seen)}, **options
        )
        chunks = -(-options["num_draws"] // options["chunk_size"])
        truths = seen[:: chunks + 1]
        return torch.cat([z[0] for z, _ in truths]), torch.cat([x for _, x in truths])

    z, x = simulated(num_simulations=40, num_draws=9, chunk_size=100)
    assert len(z.unique()) == 40
    for draws, chunk in [(9, 4), (30, 30), (30, 7)]:
        again = simulated(num_simulations=40, num_draws=draws, chunk_size=chunk)
        torch.testing.assert_close((z, x), again, rtol=0, atol=0)
    fewer = simulated(num_simulations=20, num_draws=9, chunk_size=100)
    torch.testing.assert_close((z[:20], x[:20]), fewer, rtol=0, atol=0)


@pytest.mark.parametrize("check", CHECKS)
def test_in_chunks_an_exact_guide_is_calibrated_too(check):
    pair = Scalar()
    result = check(pair.model, pair.guide, pair.x, chunk_size=7, confidence=CONFIDENCE)
    assert result.calibrated, str(result)


@pytest.mark.parametrize("check", CHECKS)
def test_progress_is_shown_when_asked_for(check, capsys):
    pair = Scalar(size=10)
    options = {"num_simulations": 25, "num_draws": 9, "chunk_size": 4}
    check(pair.model, pair.guide, pair.x, **options)
    assert capsys.readouterr().err == ""
    check(pair.model, pair.guide, pair.x, progress=True, **options)
    assert "27/27" in capsys.readouterr().err  # draws of three batches


def test_no_more_draws_are_made_at_once_than_the_chunk_size():
    pair = Scalar(size=10)
    seen: list[tuple[Tensor, Tensor]] = []
    simulation_based_calibration(
        pair.model,
        pair.guide,
        pair.x,
        quantities={"sum": recorded(seen)},
        num_simulations=10,
        chunk_size=40,
    )
    assert [len(z) for z, _ in seen] == [1, 40, 40, 19]


class Encoder(nn.Module):
    """A guide with everything that evaluation mode is for."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))
        self.head = nn.Linear(5, 2)
        self.was_training: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.was_training.append(self.net[1].training)
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", dist.Normal(self.head(self.net(x)), 1.0).to_event(1))


def check_predictions(model: Program, guide: Program, x: Tensor) -> object:
    return posterior_predictive_check(model, guide, x, {"mean": lambda x: x.mean(1)}, num_draws=5)


@pytest.mark.parametrize("check", [*CHECKS, check_predictions])
@pytest.mark.parametrize("bound_method", [False, True])
def test_weights_modes_gradients_and_random_numbers_are_as_before(check, bound_method):
    pair, guide = linear_gaussian(dtype=torch.float64), Encoder()
    guide.head.eval()
    modes = [module.training for module in guide.modules()]
    state = {name: value.clone() for name, value in guide.state_dict().items()}
    torch_numbers, numpy_numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    x = pair.x.clone()
    size = {} if check is check_predictions else {"num_simulations": 40}
    check(pair.model, guide.forward if bound_method else guide, x, **size)
    assert guide.was_training
    assert not any(guide.was_training)
    assert [module.training for module in guide.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in guide.state_dict().items())
    assert all(parameter.grad is None for parameter in guide.parameters())
    assert torch.equal(torch.get_rng_state(), torch_numbers)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_numbers)  # noqa: NPY002
    assert torch.equal(x, pair.x)


def test_a_log_density_is_taken_in_evaluation_mode():
    guide, x = Encoder(), torch.randn(6, 5)
    state = {name: value.clone() for name, value in guide.state_dict().items()}
    log_density(guide)({"z": torch.zeros(3, 6, 2)}, x)
    assert guide.was_training == [False]
    assert guide.training
    assert all(torch.equal(value, state[name]) for name, value in guide.state_dict().items())


def test_modes_and_random_numbers_are_put_back_after_an_error():
    pair, guide, before = linear_gaussian(dtype=torch.float64), Encoder(), torch.get_rng_state()

    def quantity(z: dict[str, Tensor], x: Tensor) -> Tensor:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        simulation_based_calibration(pair.model, guide, pair.x, quantities={"none": quantity})
    assert all(module.training for module in guide.modules())
    assert torch.equal(torch.get_rng_state(), before)


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_simulations": 0}, "expected num_simulations ≥ 1, an integer; got 0"),
        ({"num_draws": 0}, "expected num_draws ≥ 1, an integer; got 0"),
        ({"max_plate_nesting": 0}, "expected max_plate_nesting ≥ 1, an integer; got 0"),
        ({"chunk_size": 0}, "expected chunk_size ≥ 1, an integer; got 0"),
        ({"confidence": 1.0}, r"expected a confidence in \(0, 1\); got 1.0"),
        ({"quantities": {"z": log_density(prior_as_guide)}}, r"names than the latents', \['z'\]"),
    ],
)
def test_bad_options(check, options, message):
    pair = Scalar(size=3)
    with pytest.raises(ValueError, match=f"{check.__name__}: .*{message}"):
        check(pair.model, pair.guide, pair.x, **options)


@pytest.mark.parametrize("levels", [[], [0.5, 0.5], [0.9, 0.5], [0.0, 0.5], [0.5, 1.0], [math.nan]])
def test_bad_levels(levels):
    pair = Scalar(size=3)
    with pytest.raises(ValueError, match=r"expected levels that increase, in \(0, 1\); got"):
        expected_coverage(pair.model, pair.guide, pair.x, levels=levels)


def test_a_quantity_that_is_named_joint():
    pair = Scalar(size=3)
    with pytest.raises(ValueError, match="other names than 'joint'"):
        expected_coverage(
            pair.model, pair.guide, pair.x, quantities={"joint": log_density(pair.model)}
        )


def test_a_quantity_of_another_shape():
    pair = Scalar(size=3)
    quantities = {"data": lambda z, x: x}
    with pytest.raises(ShapeError, match=r"'data' of shape \[draw, datum\], \[1, 3\]; got \[3\]"):
        simulation_based_calibration(pair.model, pair.guide, pair.x, quantities=quantities)


def test_a_nan_names_its_quantity():
    pair = Scalar(size=3)
    quantities = {"ratio": lambda z, x: 0.0 * z["z"] / 0.0}
    with pytest.raises(NonFiniteError, match=r"in quantity 'ratio' at z ~ p\(z\)") as caught:
        simulation_based_calibration(pair.model, pair.guide, pair.x, quantities=quantities)
    assert caught.value.term.startswith("quantity 'ratio'")


def test_an_infinite_draw_names_its_site():
    pair = Scalar(size=3)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Delta(x / 0.0 if x.abs().max() > 0 else x))

    with pytest.raises(NonFiniteError, match=r"in site 'z', z ~ q\(z\|x\)"):
        simulation_based_calibration(pair.model, guide, pair.x)


def test_a_factor_is_refused():
    pair = Scalar(size=3)

    def model(x: Tensor) -> None:
        pair.model(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.factor("reward", torch.arange(3.0))

    with pytest.raises(PairError, match=r"got the factors \['reward'\]"):
        simulation_based_calibration(model, pair.guide, pair.x)


def test_bytes_of_a_model_of_real_numbers_are_refused():
    pair = Scalar()
    x = torch.zeros(3, dtype=torch.uint8)
    with pytest.raises(PairError, match=r"data's type torch\.uint8 holds.*Give x as floats"):
        simulation_based_calibration(pair.model, pair.guide, x)


def test_a_latent_site_for_all_data_at_once_is_refused():
    pair = Scalar(size=3)

    def also_global(program: Program) -> Program:
        def run(x: Tensor) -> None:
            pyro.sample("theta", dist.Normal(0.0, 1.0))
            program(x)

        return run

    with pytest.raises(PairError, match=r"got \['theta'\] outside of one"):
        simulation_based_calibration(also_global(pair.model), also_global(pair.guide), pair.x)


def test_a_subsample_is_refused():
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample_size=5, dim=-1) as rows:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[rows])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample_size=5, dim=-1) as rows:
            pyro.sample("z", dist.Normal(x[rows] / 2, 0.5**0.5))

    with pytest.raises(ShapeError, match=r"what fills data of shape \[100\]; got \[5\]"):
        simulation_based_calibration(model, guide, torch.zeros(100))


# ── posterior predictive checks ─────────────────────────────────────────────────────────────────

STATISTICS = {"mean": lambda x: x.mean(1), "sd": lambda x: x.std(1), "least": lambda x: x.amin(1)}


def test_data_of_the_model_are_reproduced():
    pair = linear_gaussian(2, 10, num_data=500, dtype=torch.float64)
    check = posterior_predictive_check(pair.model, pair.guide, pair.x, STATISTICS, num_draws=500)
    assert check.names == ("mean", "sd", "least")
    # p-values of data that were fitted crowd about ½: of a uniform number, each lies outside
    # (10⁻³, 1 − 10⁻³) twice in a thousand seeds, and here less often.
    assert ((check.pooled_p_values > 1e-3) & (check.pooled_p_values < 1 - 1e-3)).all()
    assert (np.abs(check.p_values.mean(1) - 0.5) < 0.1).all()
    assert set(check.verdicts.values()) == {"reproduced"}


def test_p_values_of_data_of_the_model_crowd_about_a_half():
    pair = linear_gaussian(2, 10, num_data=500, dtype=torch.float64)
    statistics = {"along z": lambda x: (x - pair.bias) @ pair.weight[:, 1]}
    check = posterior_predictive_check(pair.model, pair.guide, pair.x, statistics)
    # A uniform number has the variance 1/12; T(x) here is what z fits.
    assert check.p_values.var() < 0.5 / 12


@pytest.mark.parametrize(("factor", "verdict"), [(2.0, "larger"), (0.5, "smaller")])
def test_noise_of_another_size_than_the_models_is_found(factor, verdict):
    pair = linear_gaussian(2, 10, num_data=200, dtype=torch.float64)
    mean = pair.likelihood(pair.guide.posterior(pair.x).mean).mean
    x = mean + factor * (pair.x - mean)
    statistics = {"mean": lambda x: x.mean(1), "sd": lambda x: x.std(1)}
    check = posterior_predictive_check(pair.model, pair.guide, x.detach(), statistics)
    assert check.verdicts["sd"] == verdict
    assert f"sd: {verdict}, " in str(check)
    assert "Posterior predictive check of 200 data, 1000 replicates:" in str(check)


def test_replicates_are_drawn_from_the_posterior_predictive():
    """For N(0, 1) and N(z, 1), x' ~ N(x/2, 3/2): the p-value of T(x) = x is known."""
    pair = Scalar()
    x = torch.tensor([-3.0, 0.0, 1.0, 4.0])
    check = posterior_predictive_check(
        pair.model, pair.guide, x, {"x": lambda x: x}, num_draws=4_000, chunk_size=1_000
    )
    expected = stats.norm.sf(x / 2, scale=1.5**0.5)
    error = np.sqrt(expected * (1 - expected) / 4_000)
    # Five errors of four data: fails by chance once in 4·10⁵ seeds.
    assert (np.abs(check.p_values[0] - expected) < 5 * error).all()
    np.testing.assert_array_equal(check.observed[0], x)
    assert check.replicated.shape == (1, 4_000, 4)


def test_equal_statistics_count_half():
    pair = Scalar(size=4)
    check = posterior_predictive_check(
        pair.model, pair.guide, pair.x, {"one": torch.ones_like}, num_draws=3
    )
    np.testing.assert_array_equal(check.p_values, np.full((1, 4), 0.5))
    np.testing.assert_array_equal(check.pooled_p_values, [0.5])


def test_replicates_of_several_sites_are_put_together_by_rebuild():
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("a", dist.Delta(z), obs=x[:, 0])
            pyro.sample("b", dist.Delta(2 * z), obs=x[:, 1])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Delta(x[:, 0]))

    x = torch.tensor([[1.0, 5.0], [-1.0, -5.0]])
    check = posterior_predictive_check(
        model,
        guide,
        x,
        {"a": lambda x: x[:, 0], "b": lambda x: x[:, 1]},
        num_draws=3,
        rebuild=lambda sites: torch.stack([sites["a"], sites["b"]], dim=1),
    )
    np.testing.assert_array_equal(check.replicated[0], np.tile([1.0, -1.0], (3, 1)))
    np.testing.assert_array_equal(check.replicated[1], np.tile([2.0, -2.0], (3, 1)))
    np.testing.assert_array_equal(check.observed[1], [5.0, -5.0])


def test_replicates_repeat_with_the_seed_and_differ_between_chunks():
    pair = Scalar(size=4)

    def replicated(seed: int) -> np.ndarray:
        return posterior_predictive_check(
            pair.model, pair.guide, pair.x, {"x": lambda x: x}, num_draws=7, chunk_size=3, seed=seed
        ).replicated

    np.testing.assert_array_equal(replicated(1), replicated(1))
    assert (replicated(1) != replicated(2)).all()
    assert len(np.unique(replicated(1))) == 28


@pytest.mark.parametrize(
    ("statistics", "options", "error", "message"),
    [
        ({}, {}, ValueError, "expected one statistic or more; got none"),
        ({"x": lambda x: x.mean()}, {}, ShapeError, r"statistic 'x' of shape \[data\], \[3\]; got"),
        ({"log": lambda x: x.log()}, {}, NonFiniteError, "NaN or an infinity in 'log'"),
        ({"x": lambda x: x}, {"num_draws": 0}, ValueError, "expected num_draws ≥ 1"),
        ({"x": lambda x: x}, {"chunk_size": 0}, ValueError, "expected chunk_size ≥ 1"),
    ],
)
def test_what_a_predictive_check_refuses(statistics, options, error, message):
    pair = Scalar(size=3)
    with pytest.raises(error, match=f"posterior_predictive_check: .*{message}"):
        posterior_predictive_check(pair.model, pair.guide, pair.x, statistics, **options)
