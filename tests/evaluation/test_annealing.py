"""Annealed importance sampling against exact evidence: unbiased, bracketing, for any pair.

Runs here are short. What is held against a standard error is that of many data or repetitions; how
often a test fails by chance is said where it can.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import (
    VAE,
    BernoulliLikelihood,
    FixedVariance,
    MixturePrior,
    NonFiniteError,
    NormalGuide,
    NormalLikelihood,
    PairError,
    StandardNormalPrior,
    VampPrior,
)
from pyro_vae.evaluation import log_evidence
from pyro_vae.evaluation._hmc import Kernel, noise
from pyro_vae.evaluation._unconstrained import Coordinates, Density, unconstrained
from pyro_vae.evaluation.annealing import (
    AnnealedEvidence,
    annealed_log_evidence,
    bidirectional_log_evidence,
    linear_schedule,
    prior_guide,
    sigmoidal_schedule,
)
from pyro_vae.testing import LinearGaussian, linear_gaussian
from tests import registry
from tests.objectives.pairs import (
    function_guide,
    function_model,
    global_pair,
    hierarchical_pair,
    scalar_pair,
)

pytestmark = pytest.mark.usefixtures("float64")

Program = Callable[[Tensor], Any]


def linear_pair(num_data: int = 20) -> LinearGaussian:
    return linear_gaussian(num_data=num_data, orthogonal=False, dtype=torch.float64)


def displaced(pair: LinearGaussian, *, width: float = 1.0, shift: float = 0.0) -> Program:
    """The posterior's diagonal, its deviations ``width`` times as large, ``shift`` of them off."""

    def guide(x: Tensor) -> None:
        exact = pair.posterior(x)
        deviation = exact.variance.sqrt()
        with pyro.plate("data", len(x), dim=-1):
            q = dist.Normal(exact.mean + shift * deviation, width * deviation)
            pyro.sample("z", q.to_event(1))

    return guide


def deviations_off(found: AnnealedEvidence, exact: Tensor) -> float:
    """How many standard errors the mean is above the exact one."""
    return (found.value - exact).mean().item() / found.mean_error()


# --- the estimate -------------------------------------------------------------------------------


@pytest.mark.parametrize("temperatures", [1, 2, 8])
def test_at_the_exact_posterior_every_weight_is_the_evidence(temperatures: int) -> None:
    pair = linear_gaussian(dtype=torch.float64)
    found = annealed_log_evidence(
        pair.model, pair.guide, pair.x, num_chains=3, num_temperatures=temperatures
    )
    exact = pair.log_evidence(pair.x)
    torch.testing.assert_close(found.log_weight, exact.expand(3, -1))
    torch.testing.assert_close(found.value, exact)
    assert found.error.max() < 1e-10
    torch.testing.assert_close(found.ess, torch.full((20,), 3.0))


@pytest.mark.parametrize(
    "guide",
    [
        lambda pair: displaced(pair, width=3.0),
        lambda pair: displaced(pair, width=0.5),
        lambda pair: displaced(pair, shift=2.0),
        lambda pair: prior_guide(pair.model),
    ],
    ids=["too wide", "too narrow", "beside it", "the prior"],
)
def test_from_a_wrong_guide_the_estimate_is_exact_within_its_error(
    guide: Callable[[LinearGaussian], Program],
) -> None:
    pair = linear_pair()
    found = annealed_log_evidence(
        pair.model, guide(pair), pair.x, num_chains=64, num_temperatures=40
    )
    # The mean of 20 independent estimates at 4 of its errors, and less than 0.3 of one of bias
    # (half the squared errors): a false alarm once in 5,000 seeds.
    assert abs(deviations_off(found, pair.log_evidence(pair.x))) < 4
    assert found.mean_error() < 0.05
    assert found.acceptance.mean() == pytest.approx(0.65, abs=0.1)
    assert found.ess.min() > 5


def test_annealing_helps_where_importance_sampling_fails() -> None:
    """A guide four deviations off: no draw of plain sampling is where the posterior is."""
    pair = linear_pair()
    guide, exact = displaced(pair, shift=4.0, width=0.7), pair.log_evidence(pair.x)
    plain, annealed = (
        annealed_log_evidence(pair.model, guide, pair.x, num_chains=32, num_temperatures=t)
        for t in (1, 80)
    )
    assert (plain.value - exact).mean() < -5
    assert (annealed.value - exact).abs().mean() < 0.5


def test_one_temperature_is_importance_sampling() -> None:
    pair = linear_pair()
    found = annealed_log_evidence(
        pair.model, pair.guide, pair.x, num_chains=400, num_temperatures=1
    )
    plain = log_evidence(pair.model, pair.guide, pair.x, num_samples=4000)
    # 20 data at 4.5 errors of the difference: a false alarm once in 7,000 seeds.
    error = (found.error.square() + plain.error.square()).sqrt()
    assert ((found.value - plain.value).abs() < 4.5 * error).all()
    assert found.acceptance.shape == (0, 20)


@pytest.mark.parametrize("schedule", [sigmoidal_schedule, linear_schedule, lambda t: t**3])
def test_the_mean_weight_is_the_evidence_without_bias(
    schedule: Callable[[Tensor], Tensor],
) -> None:
    """One datum 2,000 times, each with a pilot and two chains: independent repetitions."""
    pair = linear_pair()
    x = pair.x[:1].expand(2000, -1)
    found = annealed_log_evidence(
        pair.model,
        displaced(pair, width=2.0, shift=1.0),
        x,
        num_chains=2,
        num_temperatures=6,
        schedule=schedule,
        batch_size=2000,
    )
    relative = (found.log_weight - pair.log_evidence(x)).exp().mean(0)
    error = relative.std() / 2000**0.5
    assert error < 0.03  # what a bias would be seen above
    # Twice the 4 errors of a normal mean for the weights' tail: a false alarm < 1 in 10,000 seeds.
    assert abs(relative.mean() - 1) < 4 * error
    # That the log of two chains' mean is a lower bound is Jensen's: some nats of it are seen.
    assert (found.value - pair.log_evidence(x)).mean() < -0.02


def test_the_mean_inverse_weight_of_reverse_chains_is_one_over_the_evidence() -> None:
    """From a guide inside the posterior: inverse weights of a wider one have no variance."""
    pair = linear_pair(2000)
    found = bidirectional_log_evidence(
        pair.model,
        displaced(pair, width=0.7, shift=0.7),
        pair.x,
        num_chains=2,
        num_temperatures=4,
        batch_size=2000,
    )
    exact = pair.log_evidence(found.x)
    relative = (exact - found.upper.log_weight).exp().mean(0)
    error = relative.std() / 2000**0.5
    assert error < 0.03
    assert abs(relative.mean() - 1) < 4 * error  # as above
    assert (found.upper.value - exact).mean() > 0.02


def test_value_and_effective_number_are_those_of_the_weights() -> None:
    pair = linear_pair()
    found = bidirectional_log_evidence(
        pair.model, displaced(pair, width=3.0), pair.x, num_chains=5, num_temperatures=4
    )
    for bound, sign in ((found.lower, 1), (found.upper, -1)):
        weights = (sign * bound.log_weight).exp()
        torch.testing.assert_close(bound.value, sign * weights.mean(0).log())
        torch.testing.assert_close(bound.error, weights.std(0) / weights.mean(0) / 5**0.5)
        torch.testing.assert_close(bound.ess, weights.sum(0).square() / weights.square().sum(0))
        assert bound.acceptance.shape == (3, 20)


# --- the sandwich -------------------------------------------------------------------------------


def test_the_sandwich_brackets_the_evidence_and_narrows_with_more_temperatures() -> None:
    pair = linear_pair(60)
    gaps = []
    for temperatures in (2, 8, 60):
        found = bidirectional_log_evidence(
            pair.model,
            prior_guide(pair.model),
            pair.x,
            num_chains=8,
            num_temperatures=temperatures,
        )
        exact = pair.log_evidence(found.x)
        torch.testing.assert_close(found.gap, found.upper.value - found.lower.value)
        for below in (exact - found.lower.value, found.upper.value - exact):
            # Each is positive in expectation: 4 errors over 60 data, one in 10⁴ seeds each.
            assert below.mean() > -4 * below.std() / 60**0.5
        assert found.mean_gap() == pytest.approx(found.gap.mean().item())
        assert found.mean_gap_error() == pytest.approx((found.gap.std() / 60**0.5).item())
        gaps.append((found.mean_gap(), found.mean_gap_error()))
    for (wide, wide_error), (narrow, narrow_error) in pairwise(gaps):
        assert wide - narrow > 2 * math.hypot(wide_error, narrow_error)
    assert gaps[-1][0] < 0.1


def test_at_the_exact_posterior_the_sandwich_has_no_gap() -> None:
    pair = linear_gaussian(dtype=torch.float64)
    found = bidirectional_log_evidence(pair.model, pair.guide, pair.x, num_temperatures=4)
    torch.testing.assert_close(found.lower.value, pair.log_evidence(found.x))
    torch.testing.assert_close(found.upper.value, pair.log_evidence(found.x))


def test_simulated_data_are_the_models_own_not_the_template() -> None:
    pair = linear_pair(2000)
    found = bidirectional_log_evidence(
        pair.model, pair.guide, torch.zeros(2000, 5), num_chains=2, num_temperatures=1
    )
    # The log-densities' mean is minus the entropy: 5 errors of 2,000 data, once in 10⁶ seeds.
    p = dist.MultivariateNormal(pair.bias, pair.weight @ pair.weight.T + 0.5 * torch.eye(5))
    exact = p.log_prob(found.x)
    assert abs(exact.mean() + p.entropy()) < 5 * exact.std() / 2000**0.5
    assert (found.x.mean(0) - pair.bias).abs().max() < 5 * found.x.std() / 2000**0.5


# --- transitions --------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_transitions_leave_the_density_they_are_of_as_it_is(beta: float) -> None:
    """Chains from exact draws of q^(1−β) p^β, q the prior: moments stay, though chains move."""
    pair = linear_pair(8)
    precision = torch.eye(2) + beta * pair.weight.T @ pair.weight / 0.5
    mean = torch.linalg.solve(precision, beta * pair.weight.T @ (pair.x - pair.bias).T / 0.5).T
    exact = dist.MultivariateNormal(mean, precision_matrix=precision)
    density = Density(
        pair.model, prior_guide(pair.model), pair.x, Coordinates({"z": torch.Size([2])}, 1)
    )
    kernel = Kernel(density, torch.ones(8, 2), 3)
    point = start = density(exact.sample((1000,)))
    random = noise(0, range(8), start.u)
    for _ in range(6):
        point, accepted = kernel(point, beta, torch.full((8,), 0.45), next(random))
    assert 0.5 < accepted.mean() < 0.99
    moved = (point.u - start.u) @ torch.linalg.cholesky(precision)
    assert moved.square().mean() > 0.7  # 2 for independent draws
    # 16 means and 24 second moments of 1,000 chains at 4.5 errors: one in 4,000 seeds.
    white = (point.u - mean) @ torch.linalg.cholesky(precision)
    assert white.mean(0).abs().max() < 4.5 / 1000**0.5
    assert (white.square().mean(0) - 1).abs().max() < 4.5 * (2 / 1000) ** 0.5
    assert white.prod(-1).mean(0).abs().max() < 4.5 / 1000**0.5
    torch.testing.assert_close(density(point.u).log_p, point.log_p)  # what a point carries is its


def test_a_move_into_nan_is_rejected() -> None:
    """A mean that is NaN below 0.7, into which a good part of the posterior would reach."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            mean = torch.where(z < 0.7, math.nan, z)
            pyro.sample("x", dist.Normal(mean, 1.0, validate_args=False), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(1.9, 0.2).expand([len(x)]))

    x = torch.linspace(1, 3, 20)
    found = annealed_log_evidence(model, guide, x, num_chains=32, num_temperatures=60)
    allowed = 1 - dist.Normal(x / 2, 0.5**0.5).cdf(torch.tensor(0.7))
    assert allowed.min() < 0.5
    exact = dist.Normal(0.0, 2**0.5).log_prob(x) + allowed.log()
    assert found.log_weight.isfinite().all()
    assert abs(deviations_off(found, exact)) < 4  # as above
    assert found.mean_error() < 0.1


def test_step_sizes_suit_each_datum() -> None:
    """Posteriors a hundred times as narrow in some data as in others."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, x.abs()), obs=x)

    x = torch.tensor([0.01, 1.0]).repeat(10)
    found = annealed_log_evidence(model, prior_guide(model), x, num_temperatures=150)
    acceptance = found.acceptance[50:].mean(0)
    assert (acceptance - 0.65).abs().max() < 0.15
    exact = dist.Normal(0.0, (1 + x**2).sqrt()).log_prob(x)
    assert abs(deviations_off(found, exact)) < 4  # as above


# --- any pair -----------------------------------------------------------------------------------


def gamma_poisson() -> tuple[Program, Program, Program, Tensor, Tensor]:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            rate = pyro.sample("rate", dist.Gamma(2.0 * torch.ones(len(x)), 0.5))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def exact(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("rate", dist.Gamma(2 + x, 1.5))

    def wrong(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("rate", dist.Gamma(1 + 0.3 * x, 0.5))

    x = torch.arange(20.0)
    return model, exact, wrong, x, dist.GammaPoisson(2.0, 0.5).log_prob(x)


def beta_bernoulli() -> tuple[Program, Program, Program, Tensor, Tensor]:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            odds = pyro.sample("odds", dist.Beta(torch.full((len(x), 1), 2.0), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(odds.expand(*odds.shape[:-1], 6)).to_event(1), obs=x)

    def guide(a: float) -> Program:
        def run(x: Tensor) -> None:
            ones = x.sum(-1, keepdim=True)
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("odds", dist.Beta(a * (2 + ones), a * (7 - ones)).to_event(1))

        return run

    ones = torch.arange(20) % 7
    x = (torch.arange(6) < ones[:, None]).to(torch.get_default_dtype())

    def log_beta(a: Tensor, b: Tensor) -> Tensor:
        return a.lgamma() + b.lgamma() - (a + b).lgamma()

    evidence = log_beta(2.0 + ones, 7.0 - ones) - log_beta(torch.tensor(2.0), torch.tensor(1.0))
    return model, guide(1.0), guide(0.4), x, evidence


def dirichlet_multinomial() -> tuple[Program, Program, Program, Tensor, Tensor]:
    prior = torch.tensor([1.0, 2.0, 3.0])

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            p = pyro.sample("p", dist.Dirichlet(prior.expand(len(x), 3)))
            pyro.sample("x", dist.Multinomial(10, p), obs=x)

    def guide(a: float) -> Program:
        def run(x: Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("p", dist.Dirichlet(a * (prior + x)))

        return run

    first = torch.arange(20.0) % 8
    x = torch.stack([first, torch.ones(20), 9 - first], 1)
    return model, guide(1.0), guide(0.5), x, dist.DirichletMultinomial(prior, 10).log_prob(x)


CONSTRAINED = {
    "positive": gamma_poisson,
    "an interval": beta_bernoulli,
    "the simplex": dirichlet_multinomial,
}


@pytest.mark.parametrize("make", CONSTRAINED.values(), ids=CONSTRAINED.keys())
def test_latents_with_a_support_of_their_own_have_their_exact_evidence(
    make: Callable[[], tuple[Program, Program, Program, Tensor, Tensor]],
) -> None:
    model, exact_guide, wrong_guide, x, evidence = make()
    found = annealed_log_evidence(model, exact_guide, x, num_chains=2, num_temperatures=3)
    torch.testing.assert_close(found.value, evidence)
    found = annealed_log_evidence(model, wrong_guide, x, num_chains=48, num_temperatures=30)
    assert abs(deviations_off(found, evidence)) < 4  # as above
    assert 1e-4 < found.mean_error() < 0.03


@pytest.mark.parametrize("make", CONSTRAINED.values(), ids=CONSTRAINED.keys())
def test_the_sandwich_of_constrained_latents_is_tight(
    make: Callable[[], tuple[Program, Program, Program, Tensor, Tensor]],
) -> None:
    model, _, wrong_guide, x, _ = make()
    found = bidirectional_log_evidence(model, wrong_guide, x, num_temperatures=30)
    assert found.x.shape == x.shape
    # The expected gap is about the squared error of a datum, below 0.1; 4 errors, one in 10⁴ seeds.
    assert found.mean_gap_error() < 0.1
    assert -4 * found.mean_gap_error() < found.mean_gap() < 0.1 + 4 * found.mean_gap_error()


def test_chains_stay_where_the_guide_has_a_density() -> None:
    """A guide on [0, |x|]: the estimate is of the part of p(x) that comes from there."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Uniform(torch.zeros(len(x)), x.abs()))

    x = torch.linspace(0.5, 3.0, 20)
    found = annealed_log_evidence(model, guide, x, num_chains=48, num_temperatures=20)
    posterior = dist.Normal(x / 2, 0.5**0.5)
    part = posterior.cdf(x) - posterior.cdf(torch.zeros(20))
    exact = dist.Normal(0.0, 2**0.5).log_prob(x) + part.log()
    assert abs(deviations_off(found, exact)) < 4  # as above
    assert found.mean_error() < 0.02
    with pytest.raises(PairError, match="prior_guide"):
        bidirectional_log_evidence(model, guide, x, num_temperatures=2)


@pytest.mark.parametrize("top_first", [True, False])
def test_a_hierarchy_of_latents_has_its_exact_evidence_between_its_bounds(top_first: bool) -> None:
    model, guide = hierarchical_pair(top_first=top_first)
    x = torch.linspace(-3, 3, 30)

    def exact(x: Tensor) -> Tensor:
        return dist.Normal(0.0, (2 + 0.9**2) ** 0.5).log_prob(x)

    found = annealed_log_evidence(model, guide, x, num_chains=32, num_temperatures=30)
    assert abs(deviations_off(found, exact(x))) < 4  # as above
    both = bidirectional_log_evidence(model, guide, x, num_temperatures=30)
    assert both.upper.mean() == pytest.approx(exact(both.x).mean().item(), abs=0.1)
    assert abs(both.mean_gap()) < 0.1


def test_functions_with_parameters_in_the_store_are_a_pair() -> None:
    x = torch.randn(20, 3)
    found = annealed_log_evidence(
        function_model, function_guide, x, num_chains=32, num_temperatures=30
    )
    weight, noise = pyro.param("weight"), pyro.param("noise")
    exact = dist.MultivariateNormal(torch.zeros(3), weight.T @ weight + noise**2 * torch.eye(3))
    assert abs(deviations_off(found, exact.log_prob(x).detach())) < 4  # as above
    assert found.mean_error() < 0.03


def plates_pair(*, shared: bool) -> tuple[Program, Program]:
    """x[:, j] ~ N(u + v_j·1, I) in two dimensions, j a plate left of the data's; u, if shared."""

    def plates(x: Tensor) -> tuple[Any, Any]:
        return pyro.plate("data", len(x), dim=-1), pyro.plate("parts", x.shape[1], dim=-2)

    def model(x: Tensor) -> None:
        data, parts = plates(x)
        with data:
            u = pyro.sample("u", dist.Normal(torch.zeros(2), 1.0).to_event(1)) if shared else 0.0
            with parts:
                v = pyro.sample("v", dist.Normal(0.0, 1.0))
                p = dist.Normal(v[..., None] + u, torch.ones(2)).to_event(1)
                pyro.sample("x", p, obs=x.transpose(0, 1))

    def guide(x: Tensor) -> None:
        data, parts = plates(x)
        with data:
            if shared:
                pyro.sample("u", dist.Normal(0.3 * x.mean(1), 0.9).to_event(1))
            with parts:
                pyro.sample("v", dist.Normal(0.2 * x.mean(2).T, 0.8))

    return model, guide


@pytest.mark.parametrize("shared", [True, False])
def test_latents_may_have_plates_beside_the_datas(shared: bool) -> None:
    model, guide = plates_pair(shared=shared)
    x = torch.randn(10, 3, 2)
    found = annealed_log_evidence(
        model, guide, x, num_chains=48, num_temperatures=30, max_plate_nesting=2, batch_size=4
    )
    own, ours = torch.kron(torch.eye(3), torch.ones(2, 2)), torch.eye(2).repeat(3, 3)
    covariance = torch.eye(6) + own + (ours if shared else 0.0)
    exact = dist.MultivariateNormal(torch.zeros(6), covariance).log_prob(x.flatten(1))
    assert abs(deviations_off(found, exact)) < 4  # as above
    assert found.mean_error() < 0.05


def test_a_mixture_prior_is_a_start_too() -> None:
    prior = MixturePrior(1, num_components=2)
    with torch.no_grad():
        prior.mean.copy_(torch.tensor([[-2.0], [2.0]]))
    vae = VAE(
        prior=prior,
        likelihood=NormalLikelihood(nn.Identity(), FixedVariance(0.5)),
        guide=NormalGuide(nn.Linear(1, 2)),
    )
    x = torch.linspace(-4, 4, 20)[:, None]
    found = annealed_log_evidence(
        vae.model, prior_guide(vae.model), x, num_chains=64, num_temperatures=30
    )
    sides = torch.stack([dist.Normal(m, 1.5**0.5).log_prob(x[:, 0]) for m in (-2.0, 2.0)])
    assert abs(deviations_off(found, sides.logsumexp(0) - math.log(2))) < 4  # as above
    assert found.mean_error() < 0.06


def some_bits() -> Tensor:
    return (torch.rand(10, registry.DATA) > 0.5).to(torch.get_default_dtype())


@pytest.mark.parametrize("name", registry.GUIDES)
def test_from_every_guide_that_scores_a_given_latent_chains_can_start(name: str) -> None:
    prior = registry.PRIORS_FOR_GUIDES.get(name, lambda: StandardNormalPrior(registry.LATENT))()
    vae = VAE(
        prior=prior,
        likelihood=BernoulliLikelihood(registry.decoder()),
        guide=registry.GUIDES[name](),
    ).double()
    x = some_bits()

    def annealed() -> AnnealedEvidence:
        return annealed_log_evidence(vae.model, vae.guide, x, num_chains=32, num_temperatures=6)

    if not vae.guide.capabilities.scores_given:
        with pytest.raises(PairError, match="scores its own samples only"):
            annealed()
        return
    found, plain = annealed(), log_evidence(vae.model, vae.guide, x, num_samples=4000)
    error = math.hypot(found.mean_error(), plain.mean_error())
    # 4 errors, and some more for the bias of half a squared error: once in 10³ seeds.
    assert abs(found.mean() - plain.mean()) < 4 * error + found.error.square().mean()


@pytest.mark.parametrize("name", registry.PRIORS)
def test_from_every_prior_chains_can_start(name: str) -> None:
    prior = registry.PRIORS[name]()
    guide = prior.guide if isinstance(prior, VampPrior) else NormalGuide(registry.encoder(4))
    likelihood = BernoulliLikelihood(registry.decoder())
    vae, x = VAE(prior=prior, likelihood=likelihood, guide=guide).double(), some_bits()
    plain, found = (
        annealed_log_evidence(
            vae.model, prior_guide(vae.model), x, num_chains=k, num_temperatures=t
        )
        for k, t in ((2000, 1), (32, 6))
    )
    error = math.hypot(found.mean_error(), plain.mean_error())
    assert abs(found.mean() - plain.mean()) < 4 * error  # once in 10⁴ seeds


def test_masked_data_have_the_evidence_of_the_others() -> None:
    observed = torch.arange(20) % 3 > 0
    model, guide = scalar_pair(observed=observed)
    x = torch.linspace(-2, 2, 20)
    found = annealed_log_evidence(model, guide, x, num_chains=32, num_temperatures=20)
    exact = dist.Normal(0.0, (1 + 1.3**2) ** 0.5).log_prob(x) * observed
    assert abs(deviations_off(found, exact)) < 4  # as above
    assert (found.value[~observed] == 0).all()


def test_single_precision_gives_single_precision() -> None:
    torch.set_default_dtype(torch.float32)
    pair = linear_gaussian()
    found = bidirectional_log_evidence(pair.model, pair.guide, pair.x, num_temperatures=20)
    assert {value.dtype for value in vars(found.lower).values()} == {torch.float32}
    torch.testing.assert_close(found.lower.value, pair.log_evidence(found.x), atol=1e-4, rtol=1e-5)


@pytest.mark.gpu
def test_on_a_gpu_the_estimate_is_exact_too() -> None:
    pair = linear_pair().to("cuda")
    found = bidirectional_log_evidence(
        pair.model, displaced(pair, width=2.0), pair.x, num_temperatures=40
    )
    assert found.lower.value.device.type == "cuda"
    assert abs(deviations_off(found.lower, pair.log_evidence(found.x))) < 4  # as above


# --- the run ------------------------------------------------------------------------------------


def test_the_batch_size_changes_no_number() -> None:
    pair = linear_pair()
    guide = displaced(pair, width=2.0)
    whole, parts = (
        bidirectional_log_evidence(
            pair.model, guide, pair.x, num_chains=3, num_temperatures=5, batch_size=size
        )
        for size in (None, 7)
    )
    torch.testing.assert_close(parts.lower.log_weight, whole.lower.log_weight)
    torch.testing.assert_close(parts.upper.log_weight, whole.upper.log_weight)
    torch.testing.assert_close(parts.lower.acceptance, whole.lower.acceptance)
    assert len(whole.lower.log_weight.unique()) == 60  # no datum or chain repeats another


def test_the_seed_decides_the_estimate() -> None:
    pair = linear_pair()
    one, same, other = (
        annealed_log_evidence(pair.model, pair.guide, pair.x, num_temperatures=4, seed=seed)
        for seed in (1, 1, -2)
    )
    assert torch.equal(one.log_weight, same.log_weight)
    assert not torch.isclose(one.log_weight, other.log_weight).any()


def test_forward_chains_are_those_of_the_one_sided_estimate() -> None:
    pair = linear_pair()
    guide = displaced(pair, width=2.0)
    both = bidirectional_log_evidence(pair.model, guide, pair.x, num_temperatures=4)
    again = annealed_log_evidence(pair.model, guide, both.x, num_temperatures=4)
    torch.testing.assert_close(both.lower.log_weight, again.log_weight, rtol=0, atol=0)


def busy_vae() -> tuple[VAE, Tensor]:
    """Dropout, batch normalisation, gradients, and modes that differ."""
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=BernoulliLikelihood(
            nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3))
        ),
        guide=NormalGuide(nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 4))),
    ).train()
    vae.likelihood.decoder.eval()
    x = torch.rand(6, 3).round()
    log_evidence(vae.model, vae.guide, x, num_samples=2)  # their names are in Pyro's store
    for parameter in vae.parameters():
        parameter.grad = torch.randn_like(parameter)
    vae.guide.encoder[0].weight.requires_grad_(False)
    return vae, x


@pytest.mark.parametrize("evaluate", [annealed_log_evidence, bidirectional_log_evidence])
def test_nothing_is_changed(evaluate: Callable[..., Any]) -> None:
    vae, x = busy_vae()
    state = {name: value.clone() for name, value in vae.state_dict().items()}
    gradients = [p.grad.clone() for p in vae.parameters() if p.grad is not None]
    modes = [module.training for module in vae.modules()]
    wants = [p.requires_grad for p in vae.parameters()]
    random, store = torch.get_rng_state(), list(pyro.get_param_store().keys())
    for rows in (x, x[:, :2]):  # the second fails
        try:
            evaluate(vae.model, vae.guide, rows, num_temperatures=3)
        except (ValueError, RuntimeError):
            assert rows is not x
        torch.testing.assert_close(vae.state_dict(), state, rtol=0, atol=0)
        torch.testing.assert_close([p.grad for p in vae.parameters()], gradients, rtol=0, atol=0)
        assert [module.training for module in vae.modules()] == modes
        assert [p.requires_grad for p in vae.parameters()] == wants
        assert torch.equal(torch.get_rng_state(), random)
        assert list(pyro.get_param_store().keys()) == store


def test_it_is_in_evaluation_mode_and_repeats_itself() -> None:
    vae, x = busy_vae()
    with torch.no_grad():
        first = annealed_log_evidence(vae.model, vae.guide, x, num_temperatures=3)
    pyro.set_rng_seed(99)
    second = annealed_log_evidence(vae.model, vae.guide.eval(), x, num_temperatures=3)
    assert torch.equal(first.log_weight, second.log_weight)
    assert not second.log_weight.requires_grad


def test_progress_counts_the_transitions(capsys: pytest.CaptureFixture[str]) -> None:
    pair = linear_pair()
    annealed_log_evidence(pair.model, pair.guide, pair.x, num_temperatures=4)
    assert capsys.readouterr() == ("", "")
    bidirectional_log_evidence(
        pair.model, pair.guide, pair.x, num_temperatures=4, batch_size=10, progress=True
    )
    last = re.split(r"[\r\n]", capsys.readouterr().err.strip())[-1]
    assert " 18/18 " in last  # 2 batches × (pilot, forward, reverse) × 3


def test_schedules_rise_from_zero_to_one() -> None:
    fraction = torch.linspace(0, 1, 11)
    beta = sigmoidal_schedule(fraction)
    assert (beta.diff() > 0).all()
    assert (beta[0], beta[5], beta[10]) == (0.0, pytest.approx(0.5), 1.0)
    raw = [1 / (1 + math.exp(4 - 8 * t)) for t in (0.0, 0.2, 1.0)]
    assert beta[2].item() == pytest.approx((raw[1] - raw[0]) / (raw[2] - raw[0]))
    assert torch.equal(linear_schedule(fraction), fraction)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_chains", 1),
        ("num_temperatures", 0),
        ("leapfrog_steps", 0),
        ("max_plate_nesting", 0),
        ("batch_size", 0),
    ],
)
def test_counts_below_the_least_are_refused(name: str, value: int) -> None:
    pair = linear_pair()
    for evaluate in (annealed_log_evidence, bidirectional_log_evidence):
        with pytest.raises(ValueError, match=f"{name}: expected ≥ {value + 1}; got {value}"):
            evaluate(pair.model, pair.guide, pair.x, **{name: value})


@pytest.mark.parametrize(
    "schedule",
    [lambda t: 1 - t, lambda t: 0.5 * t, lambda t: t[1:], lambda t: t.round(), lambda t: t / 0],
)
def test_a_schedule_that_does_not_rise_from_zero_to_one_is_refused(
    schedule: Callable[[Tensor], Tensor],
) -> None:
    pair = linear_pair()
    with pytest.raises(ValueError, match="schedule: expected 5 numbers that rise from 0 to 1"):
        annealed_log_evidence(pair.model, pair.guide, pair.x, num_temperatures=4, schedule=schedule)


def pair_of(prior: dist.Distribution, q: dist.Distribution) -> tuple[Program, Program]:
    """z from each of the two in a plate of four data; x is seen through noise."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", 4, dim=-1):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(1.0 * z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 4, dim=-1):
            pyro.sample("z", q)

    return model, guide


REFUSED = {
    "discrete latents": (
        *pair_of(dist.Bernoulli(0.5), dist.Bernoulli(0.4)),
        "site 'z': expected continuous latents.* Sum it out",
    ),
    "a latent that data share": (*global_pair(), "a site.*share|site 'shift'.*share"),
    "a subsample": (*scalar_pair(size=2), "subsample"),
    "a guide without spread": (
        *pair_of(dist.Normal(0.0, 1.0), dist.Delta(torch.tensor(0.3))),
        "as from a Delta",
    ),
    "no data": (
        prior_guide(pair_of(dist.Normal(0.0, 1.0), dist.Normal(0.0, 1.0))[0]),
        pair_of(dist.Normal(0.0, 1.0), dist.Normal(0.0, 1.0))[1],
        "an observed one in the model; got 1 and 0",
    ),
}


@pytest.mark.parametrize(("model", "guide", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_a_pair_without_an_evidence_per_datum_or_a_gradient_is_refused(
    model: Program, guide: Program, told: str
) -> None:
    for evaluate in (annealed_log_evidence, bidirectional_log_evidence):
        with pytest.raises(PairError, match=told):
            evaluate(model, guide, torch.linspace(-1, 1, 4), num_temperatures=2)


def test_an_auxiliary_latent_of_the_guide_is_refused() -> None:
    model, _ = pair_of(dist.Normal(0.0, 1.0), dist.Normal(0.0, 1.0))

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(u, 1.0))

    with pytest.raises(PairError, match=r"site 'u'.*auxiliary"):
        annealed_log_evidence(model, guide, torch.zeros(4), num_temperatures=2)


def test_a_support_that_no_transform_is_known_for_is_refused() -> None:
    class Unknown(dist.Normal):
        @property
        def support(self) -> Any:
            raise NotImplementedError

    model, guide = pair_of(dist.Normal(0.0, 1.0), Unknown(torch.zeros(4), 1.0))
    with (
        pyro.validation_enabled(False),
        pytest.raises(PairError, match=r"site 'z'.*mapped to all real numbers.*biject_to"),
    ):
        annealed_log_evidence(model, guide, torch.zeros(4), num_temperatures=2)


@pytest.mark.parametrize(("bias", "term"), [(float("nan"), "log p(x|…)"), (1e200, "log p(x|…)")])
def test_a_start_that_is_not_finite_names_datum_and_term(bias: float, term: str) -> None:
    pair = linear_pair()
    with torch.no_grad():
        pair.likelihood.decoder.bias.fill_(bias)
    with (
        pyro.validation_enabled(False),
        pytest.raises(NonFiniteError, match=r"datum 0 .*log p\(x") as caught,
    ):
        annealed_log_evidence(pair.model, pair.guide, pair.x, num_temperatures=2)
    assert caught.value.term == term


def test_some_chains_of_no_weight_are_no_error() -> None:
    """A guide on [0, 2], a prior on [0, 1]: half of the chains start where p(x, z) is zero."""
    model, guide = pair_of(
        dist.Uniform(0.0, 1.0, validate_args=False), dist.Uniform(torch.zeros(4), 2.0)
    )
    x = torch.linspace(-1, 2, 4)
    with pyro.validation_enabled(False):
        found = annealed_log_evidence(model, guide, x, num_chains=300, num_temperatures=8)
    exact = (dist.Normal(0.0, 1.0).cdf(x) - dist.Normal(0.0, 1.0).cdf(x - 1)).log()
    alive = found.log_weight.isfinite().double().mean()
    assert 0.4 < alive < 0.6
    assert found.acceptance.mean() > 0.5 * alive  # step sizes are for the others
    # 4 data at 4.5 errors: a false alarm once in 30,000 seeds.
    assert ((found.value - exact).abs() < 4.5 * found.error).all()
    for seed in range(5):  # the pilot's two chains may have no weight
        with pyro.validation_enabled(False):
            annealed_log_evidence(model, guide, x, num_chains=9, num_temperatures=2, seed=seed)


def test_what_cannot_be_simulated_is_refused() -> None:
    x = torch.zeros(4)
    _, guide = pair_of(dist.Normal(0.0, 1.0), dist.Normal(0.0, 1.0))

    def two(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("y", dist.Normal(z, 1.0), obs=x)

    def elsewhere(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(PairError, match="expected one observed site, of x's shape"):
        bidirectional_log_evidence(two, guide, x, num_temperatures=2)
    told = r"depend on x at its observed site alone.*columns of x, and take annealed_log_evidence"
    with pytest.raises(PairError, match=told):
        bidirectional_log_evidence(elsewhere, guide, x, num_temperatures=2)


def test_coordinates_put_every_value_back_in_its_place() -> None:
    _, guide = plates_pair(shared=True)
    coordinates, u = unconstrained(guide, torch.randn(4, 3, 2), 5, 2)
    assert u.shape == (5, 4, 2 + 3)
    values = coordinates.split(u)
    assert {name: value.shape for name, value in values.items()} == {
        "u": (5, 1, 4, 2),
        "v": (5, 3, 4),
    }
    assert torch.equal(coordinates.join(values), u)
