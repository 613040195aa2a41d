"""log p(x) by quadrature against closed forms, and where importance sampling cannot know."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import VAE, BernoulliLikelihood, NonFiniteError, NormalGuide, PairError
from pyro_vae.diagnostics import reliability
from pyro_vae.evaluation import annealed_log_evidence, log_evidence, quadrature_log_evidence
from pyro_vae.priors import StandardNormalPrior
from pyro_vae.testing import linear_gaussian
from tests.objectives.pairs import global_pair, hierarchical_pair, scalar_pair

pytestmark = pytest.mark.usefixtures("float64")

Program = Callable[[Tensor], object]


def normal_model(deviation: float, link: Callable[[Tensor], Tensor] = lambda z: z) -> Program:
    """z ~ N(0, 1), x ~ N(link(z), deviation²)."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(link(z), deviation), obs=x)

    return model


def gamma_poisson(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
        pyro.sample("x", dist.Poisson(rate), obs=x)


@pytest.mark.parametrize(("latent", "cells"), [(1, 128), (2, 128), (3, 40)])
def test_it_is_the_closed_form(latent: int, cells: int) -> None:
    pair = linear_gaussian(latent_dim=latent, num_data=4, orthogonal=False, dtype=torch.float64)
    found = quadrature_log_evidence(pair.model, pair.x, cells=cells)
    torch.testing.assert_close(found.value, pair.log_evidence(pair.x), atol=1e-8, rtol=0)
    assert found.error.max() < 1e-6


@pytest.mark.parametrize("deviation", [1.0, 0.1, 0.01])
def test_narrow_posteriors(deviation: float) -> None:
    x = torch.tensor([-1.3, 0.0, 0.4, 2.2])
    found = quadrature_log_evidence(normal_model(deviation), x)
    exact = dist.Normal(0.0, math.sqrt(1 + deviation**2)).log_prob(x)
    torch.testing.assert_close(found.value, exact, atol=1e-6, rtol=0)
    assert (found.evaluations < 2_000).all()


def test_a_posterior_far_from_the_prior_widens_the_grid() -> None:
    x = torch.tensor([0.0, 15.0])
    found = quadrature_log_evidence(normal_model(0.1), x)
    exact = dist.Normal(0.0, math.sqrt(1.01)).log_prob(x)
    torch.testing.assert_close(found.value, exact, atol=1e-6, rtol=0)


def test_latents_with_a_support_of_their_own() -> None:
    x = torch.tensor([0.0, 1.0, 7.0])
    found = quadrature_log_evidence(gamma_poisson, x)
    exact = dist.GammaPoisson(2.0, 0.5).log_prob(x)
    torch.testing.assert_close(found.value, exact, atol=1e-6, rtol=0)


def test_several_sites() -> None:
    model, _ = hierarchical_pair()
    x = torch.tensor([-1.0, 0.5])
    found = quadrature_log_evidence(model, x)
    exact = dist.Normal(0.0, math.sqrt(0.9**2 + 2)).log_prob(x)
    torch.testing.assert_close(found.value, exact, atol=1e-6, rtol=0)


def test_a_second_mode_that_no_weight_shows() -> None:
    """Of x ~ N(z², 0.1²) both roots are modes; a guide on one of them has good weights, and half
    of p(x). The guide's draws meet the other mode never: nothing here is by chance."""
    model, x = normal_model(0.1, torch.square), torch.full((1,), 2.0)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.sqrt(), 0.05))

    exact = quadrature_log_evidence(model, x)
    z = torch.linspace(-6, 6, 400_001)
    joint = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z**2, 0.1).log_prob(x)
    by_hand = torch.trapezoid(joint.exp(), z).log()
    torch.testing.assert_close(exact.value[0], by_hand, atol=1e-8, rtol=0)
    of_weights = reliability(model, guide, x, num_samples=4_000)
    assert of_weights.share_above == 0
    short = exact.value - of_weights.log_evidence
    torch.testing.assert_close(short.item(), math.log(2), atol=0.01, rtol=0)


def test_a_network_is_as_importance_sampling_and_annealing_have_it() -> None:
    """Fails by chance in fewer than one of 10,000 seeds."""
    torch.manual_seed(0)
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=BernoulliLikelihood(
            nn.Sequential(nn.Linear(2, 20), nn.ReLU(), nn.Linear(20, 30))
        ),
        guide=NormalGuide(nn.Linear(30, 4)),
    )
    x = torch.bernoulli(torch.full((3, 30), 0.5))
    exact = quadrature_log_evidence(vae.model, x, cells=40)
    assert exact.error.max() < 1e-3
    sampled = log_evidence(vae.model, vae.guide, x, num_samples=10_000)
    assert ((exact.value - sampled.value).abs() < 5 * sampled.error).all()
    annealed = annealed_log_evidence(vae.model, vae.guide, x, num_temperatures=50)
    assert ((exact.value - annealed.value).abs() < 5 * annealed.error + 1e-3).all()


def test_a_datum_has_its_value_whatever_the_others() -> None:
    pair = linear_gaussian(num_data=3, dtype=torch.float64)
    together = quadrature_log_evidence(pair.model, pair.x)
    alone = quadrature_log_evidence(pair.model, pair.x[2:])
    assert torch.equal(together.value[2:], alone.value)


def test_random_numbers_and_modes_stay_as_they_are() -> None:
    pair = linear_gaussian(num_data=1, dtype=torch.float64)
    pair.train()
    state = torch.get_rng_state()
    quadrature_log_evidence(pair.model, pair.x)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in pair.modules())


def test_single_precision() -> None:
    pair = linear_gaussian(num_data=3, dtype=torch.float32)
    found = quadrature_log_evidence(pair.model, pair.x)
    assert found.value.dtype == torch.float32
    torch.testing.assert_close(found.value, pair.log_evidence(pair.x), atol=1e-4, rtol=0)


def test_what_it_refuses() -> None:
    def discrete(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def without_end(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Cauchy(0.0, 1.0))
            pyro.sample("x", dist.Normal(0.0 * z, 1.0), obs=x)

    x = torch.zeros(2)
    wide = linear_gaussian(latent_dim=4, data_dim=6, num_data=1, dtype=torch.float64)
    with pytest.raises(PairError, match="one to 3 latents a datum; got 4"):
        quadrature_log_evidence(wide.model, wide.x)
    with pytest.raises(PairError, match="continuous latents"):
        quadrature_log_evidence(discrete, x)
    with pytest.raises(PairError, match="a latent of every datum"):
        quadrature_log_evidence(scalar_pair(observed=torch.tensor([True, False]))[0], x)
    with pytest.raises(PairError, match="in a plate of 2 at dim −1"):
        quadrature_log_evidence(global_pair()[0], x)
    with pytest.raises(PairError, match="mass at datum 0 that goes on"):
        quadrature_log_evidence(without_end, x)
    with pytest.raises(NonFiniteError, match="highest of datum 2"):
        quadrature_log_evidence(normal_model(1.0), torch.tensor([0.0, 0.0, math.nan]))
    with pytest.raises(ValueError, match="cells: expected ≥ 2; got 1"):
        quadrature_log_evidence(normal_model(1.0), x, cells=1)
    with pytest.raises(ValueError, match="tolerance: expected a positive number of nats; got 0"):
        quadrature_log_evidence(normal_model(1.0), x, tolerance=0)
