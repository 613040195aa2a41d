"""Fyffe's equations where they are exact: on a linear VAE with unit noise."""

from __future__ import annotations

import pytest
import torch

from experiments.there_and_back.equations import (
    CHECKS,
    Check,
    Trained,
    change_of_variables,
    log_determinant,
    optimal_prior_variance,
    penalty,
)
from pyro_vae.evaluation import posterior_moments, posterior_precision
from pyro_vae.testing import linear_gaussian

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def found() -> dict[str, list[Check]]:
    """By equation, for a pair whose guide is exact."""
    torch.manual_seed(0)
    pair = linear_gaussian(2, 6, variance=1.0, num_data=300, dtype=torch.float64)
    trained = Trained(pair, pair.x, pair.x, samples=400, evidence_cells=256)
    checks = [check for compute in CHECKS for check in compute(trained)]
    return {e: [c for c in checks if c.equation == e] for e in {c.equation for c in checks}}


def test_every_equation_of_the_table_is_there(found: dict[str, list[Check]]) -> None:
    expected = {"4", "6", "7", "9", "10", "11", "12", "16, 26", "17", "18", "19, 20", "21", "22"}
    assert found.keys() == expected | {"25"}


@pytest.mark.parametrize("equation", ["11", "12", "16, 26"])
def test_what_is_exact_is_met(found: dict[str, list[Check]], equation: str) -> None:
    for check in found[equation]:
        assert check.measured == pytest.approx(check.predicted, rel=1e-5)
        assert check.spread is not None
        assert check.spread < 1e-5


def test_the_best_prior_is_found_and_held_against_the_one_trained_under() -> None:
    """Where means are doubled and variances kept, S² is E[4μ² + Σ] and no longer I."""
    torch.manual_seed(0)
    pair = linear_gaussian(2, 6, variance=1.0, num_data=300, dtype=torch.float64)
    with torch.no_grad():
        pair.guide.encoder.weight[:2] *= 2
        pair.guide.encoder.bias[:2] *= 2
    mean, variance = posterior_moments(pair.guide, pair.x)
    expected = (mean.square() + variance).mean(0).sum().item()
    best, own = optimal_prior_variance(Trained(pair, pair.x, pair.x))
    for value in (best.predicted, best.measured, own.predicted):
        assert value == pytest.approx(expected, rel=1e-5)
    assert own.measured == pytest.approx(2.0)


def test_one_variance_costs_nothing_where_latents_are_correlated_alike() -> None:
    """A linear decoder whose directions are not orthogonal: Λ is the same for all data, so one
    diagonal Σ costs nothing, measured or predicted; its own off-diagonals are no penalty."""
    torch.manual_seed(0)
    pair = linear_gaussian(2, 6, orthogonal=False, num_data=300, dtype=torch.float64)
    assert posterior_precision(pair.model, pair.x[:1], torch.zeros(1, 2))[0, 0, 1].abs() > 0.1
    for check in penalty(Trained(pair, pair.x, pair.x)):
        assert check.predicted == pytest.approx(0.0, abs=1e-9)
        assert abs(check.measured) < 0.02


def test_the_penalty_is_that_of_diagonal_variances() -> None:
    """A decoder bent along one latent, directions correlated: predicted from the diagonal of Λ."""
    torch.manual_seed(0)
    pair = linear_gaussian(2, 6, orthogonal=False, num_data=300, dtype=torch.float64)
    trained = Trained(pair, pair.x, pair.x)
    scale = torch.linspace(0.5, 2.0, 300).reshape(-1, 1, 1)
    trained.__dict__["precision"] = trained.precision * scale
    diagonal = trained.precision.diagonal(dim1=-2, dim2=-1)
    expected = 0.25 * (diagonal.var(0, correction=0) / diagonal.mean(0).square()).sum()
    check, _ = penalty(trained)
    assert check.predicted == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("equation", "tolerance"),
    # Means over 300 data and 400 draws: errors of about 0.004 nats, tolerances of five and more.
    [("17", 0.03), ("18", 0.03), ("21", 0.03), ("25", 0.05), ("22", 1e-3)],
)
def test_what_is_sampled_is_met_within_its_error(
    found: dict[str, list[Check]], equation: str, tolerance: float
) -> None:
    for check in found[equation]:
        assert abs(check.measured - check.predicted) < tolerance


def test_without_noise_the_evidence_is_a_flows() -> None:
    """Eq. 27, of a linear decoder between spaces of one dimension."""
    torch.manual_seed(0)
    pair = linear_gaussian(3, 3, variance=1e-6, num_data=50, dtype=torch.float64)
    [check] = change_of_variables(Trained(pair, pair.x, pair.x, evidence_samples=5000))
    assert check.error is not None
    assert check.error < 1e-3
    # Five standard errors and the noise's share: by chance once in 10⁶ seeds.
    assert check.measured == pytest.approx(check.predicted, abs=5 * check.error + 1e-4)
    wider = linear_gaussian(2, 3, variance=1e-6, dtype=torch.float64)
    assert change_of_variables(Trained(wider, wider.x, wider.x)) == []


def test_the_log_determinant_is_met_within_its_error(found: dict[str, list[Check]]) -> None:
    [check] = found["19, 20"]
    assert check.error is not None
    # Four standard errors and what is left of the descent: by chance once in 10⁴ seeds.
    assert -4 * check.error < check.measured - check.predicted < 4 * check.error + 0.02


def test_a_descent_of_too_few_steps_to_the_log_determinant_is_told() -> None:
    torch.manual_seed(0)
    pair = linear_gaussian(2, 6, orthogonal=False, num_data=1, dtype=torch.float64)
    with pytest.warns(UserWarning, match="after 3 steps"):
        log_determinant(Trained(pair, pair.x, pair.x, determinant_steps=3))


def test_gradients_vanish_at_the_optimum_but_for_the_draws(
    found: dict[str, list[Check]],
) -> None:
    for equation in ("9", "10"):
        [check] = found[equation]
        assert check.predicted < 1e-12
        assert check.measured < 0.15  # of 400 draws of unit size


def test_away_from_the_optimum_the_gradients_are_those_of_the_formulas() -> None:
    """For a linear decoder eq. 9 and 10 hold anywhere."""
    torch.manual_seed(0)
    pair = linear_gaussian(2, 6, variance=1.0, num_data=300, dtype=torch.float64)
    with torch.no_grad():
        pair.guide.encoder.bias[:2] += 1.0
        pair.guide.encoder.bias[2:] += 1.0
    checks = CHECKS[2](Trained(pair, pair.x, pair.x, samples=2000))
    for check in checks:
        assert check.spread is not None
        assert check.spread < 0.1
        assert check.predicted > 0.3
