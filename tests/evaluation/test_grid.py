"""log p(x) on one grid for all data: closed forms, refined quadrature, and where it cannot be."""

from __future__ import annotations

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import (
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    FixedVariance,
    FloatingPrior,
    Likelihood,
    NonFiniteError,
    NormalGuide,
    NormalLikelihood,
    PairError,
    ShapeError,
    StandardNormalPrior,
    StudentTLikelihood,
    update_statistics,
)
from pyro_vae.distributions import log_prob_of_each
from pyro_vae.evaluation import grid_log_evidence, log_evidence, quadrature_log_evidence
from pyro_vae.testing import linear_gaussian

pytestmark = pytest.mark.usefixtures("float64")


def network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))


@pytest.mark.parametrize("latent", [1, 2])
def test_it_is_the_closed_form(latent: int) -> None:
    pair = linear_gaussian(latent_dim=latent, num_data=4, orthogonal=False, dtype=torch.float64)
    found = grid_log_evidence(pair.prior, pair.likelihood, pair.x, cells=256)
    torch.testing.assert_close(found.value, pair.log_evidence(pair.x), atol=1e-8, rtol=0)
    assert found.error.max() < 1e-5


@pytest.mark.parametrize("family", [BernoulliLikelihood, NormalLikelihood, StudentTLikelihood])
def test_it_is_that_of_each_datum_alone(family: type[Likelihood]) -> None:
    torch.manual_seed(0)
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=family(network(2, 5)),
        guide=NormalGuide(network(5, 4)),
    )
    x = torch.rand(2, 5).round() if family is BernoulliLikelihood else torch.randn(2, 5)
    found = grid_log_evidence(vae.prior, vae.likelihood, x, cells=128)
    alone = quadrature_log_evidence(vae.model, x)
    torch.testing.assert_close(found.value, alone.value, atol=1e-3, rtol=0)


def test_a_floating_prior_is_that_of_the_training_set() -> None:
    torch.manual_seed(0)
    vae = VAE(
        prior=FloatingPrior(2),
        likelihood=NormalLikelihood(network(2, 3)),
        guide=ConstantNormalGuide(network(3, 2)),
    )
    x = torch.randn(2, 3)
    update_statistics(vae.model, vae.guide, x)
    found = grid_log_evidence(vae.prior, vae.likelihood, x, cells=256)
    alone = quadrature_log_evidence(vae.model, x)
    torch.testing.assert_close(found.value, alone.value, atol=1e-3, rtol=0)


def test_too_few_cells_are_told_by_the_error() -> None:
    pair = linear_gaussian(latent_dim=2, num_data=8, orthogonal=False, dtype=torch.float64)
    exact = pair.log_evidence(pair.x)
    for cells in (8, 16, 32):
        found = grid_log_evidence(pair.prior, pair.likelihood, pair.x, cells=cells)
        assert bool(((found.value - exact).abs() <= 4 * found.error).all()), (found, exact)
    assert (found.value - exact).abs().max() < 1e-3


class Square(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.square()


def one_root(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x.sqrt(), 0.05).to_event(1))


def test_a_mode_that_the_guide_misses_is_counted() -> None:
    """x says nothing of the sign of z: half of the mass is where the guide never looks. The weights
    of 1,000 draws are within 4 of their standard errors, 0.01, but in one of 10,000 cases."""
    vae = VAE(
        prior=StandardNormalPrior(1),
        likelihood=NormalLikelihood(Square(), FixedVariance(0.04)),
        guide=NormalGuide(nn.Linear(1, 2)),
    )
    x = torch.tensor([[4.0]])
    found = grid_log_evidence(vae.prior, vae.likelihood, x).value
    one_mode = log_evidence(vae.model, one_root, x, num_samples=1000).value
    torch.testing.assert_close(found - one_mode, torch.tensor([math.log(2)]), atol=0.04, rtol=0)


def test_what_it_refuses() -> None:
    pair = linear_gaussian(latent_dim=3, dtype=torch.float64)
    grid = partial(grid_log_evidence, pair.prior, pair.likelihood)
    with pytest.raises(ValueError, match="expected an even number ≥ 2; got 5"):
        grid(pair.x, cells=5)
    with pytest.raises(PairError, match=r"one or two latents; got shape \(3,\)"):
        grid(pair.x)


def test_numbers_that_are_none_are_named() -> None:
    pair = linear_gaussian(latent_dim=1, num_data=3, dtype=torch.float64)
    x = pair.x.clone()
    x[1, 0] = math.nan
    with pytest.raises((NonFiniteError, ValueError), match="datum 1"):
        grid_log_evidence(pair.prior, pair.likelihood, x, cells=16)


def test_a_posterior_far_from_the_prior_widens_the_grid() -> None:
    """At 12 deviations of the prior: beyond the first grid, and the exact evidence still."""
    pair = linear_gaussian(latent_dim=1, num_data=3, dtype=torch.float64)
    x = pair.x.clone()
    x[2] += 12 * pair.likelihood.decoder.weight[:, 0]
    found = grid_log_evidence(pair.prior, pair.likelihood, x, cells=256)
    torch.testing.assert_close(found.value, pair.log_evidence(x), atol=1e-6, rtol=0)


def test_mass_beyond_the_edge_is_named() -> None:
    pair = linear_gaussian(latent_dim=1, num_data=3, dtype=torch.float64)
    x = pair.x.clone()
    x[2] += 1e3 * pair.likelihood.decoder.weight[:, 0]
    with pytest.raises(PairError, match="datum 2 that goes on"):
        grid_log_evidence(pair.prior, pair.likelihood, x, cells=16)


@pytest.mark.parametrize(
    "p",
    [
        dist.Bernoulli(logits=torch.randn(4, 2, 3)).to_event(2),
        dist.Normal(torch.randn(4, 2, 3), torch.rand(4, 2, 3) + 0.1).to_event(2),
        dist.Normal(torch.randn(4, 2, 3), torch.rand(2, 3) + 0.1).to_event(2),
        dist.Laplace(torch.randn(4, 2, 3), 1.0).to_event(2),
        dist.MultivariateNormal(torch.randn(4, 3), torch.eye(3)),
    ],
)
def test_each_datum_under_each_distribution(p: dist.TorchDistribution) -> None:
    x = p.sample()[[0, 2, 1, 3, 0]]
    found = log_prob_of_each(p, x)
    expected = torch.stack([p.log_prob(datum) for datum in x], dim=1)
    torch.testing.assert_close(found, expected.to(found.dtype), atol=1e-5, rtol=1e-5)


def test_data_off_the_support_are_named() -> None:
    p = dist.Bernoulli(logits=torch.zeros(4, 3)).to_event(1)
    with pytest.raises(ValueError, match=r"support of .*, the first at datum 1"):
        log_prob_of_each(p, torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.5, 1.0]]))


def test_data_of_another_shape_are_named() -> None:
    p = dist.Bernoulli(logits=torch.zeros(4, 3)).to_event(1)
    with pytest.raises(ShapeError, match=r"shape \[data, 3\]; got \[2, 5\]"):
        log_prob_of_each(p, torch.zeros(2, 5))
