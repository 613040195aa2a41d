"""The floating prior, S² = E[Σ + μ²], and the two bounds made of it: Fyffe, eq. 2, 4, 23, 24."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import (
    BILBO,
    ELBO,
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    FloatingPrior,
    FloatingPriorELBO,
    Objective,
    Prior,
    StandardNormalPrior,
    update_statistics,
)
from pyro_vae.distributions import normal_moments, optimal_prior_variance
from pyro_vae.nn import MLP
from tests.objectives.pairs import bernoulli_vae

pytestmark = pytest.mark.usefixtures("float64")


def constant_vae(prior: Prior, scale: float = 0.5) -> VAE:
    return VAE(
        prior=prior,
        likelihood=BernoulliLikelihood(MLP(2, [5], 6, activation=nn.Tanh)),
        guide=ConstantNormalGuide(MLP(6, [5], 2, activation=nn.Tanh), scale),
    )


def data(count: int = 9) -> Tensor:
    return torch.rand(count, 6).round()


def value_and_gradients(objective: Objective, vae: VAE, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    pyro.set_rng_seed(4)
    loss = objective.differentiable_loss(vae.model, vae.guide, x)
    return loss, list(torch.autograd.grad(loss, list(vae.parameters()), allow_unused=True))


def assert_same_loss(one: Objective, other: Objective, vae: VAE, x: Tensor) -> None:
    ours, theirs = (value_and_gradients(objective, vae, x) for objective in (one, other))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


# --- the prior's variance ----------------------------------------------------------------------


def test_in_training_the_variance_is_the_batchs() -> None:
    vae, x = bernoulli_vae(FloatingPrior(2)), data()
    q = vae.guide.posterior(x)
    trace = pyro.poutine.trace(vae.model).get_trace(x)
    expected = (q.variance + q.mean.square()).mean(0)
    torch.testing.assert_close(trace.nodes["z"]["fn"].variance[0], expected)


def test_after_update_statistics_it_is_the_training_sets_with_an_unequal_last_batch() -> None:
    vae, x = bernoulli_vae(FloatingPrior(2)), data(11)
    update_statistics(vae.model, vae.guide, x, batch_size=4)
    vae.eval()
    q = vae.guide.posterior(x)
    expected = (q.variance + q.mean.square()).mean(0)
    torch.testing.assert_close(vae.prior().variance, expected)
    trace = pyro.poutine.trace(vae.model).get_trace(x[:3])
    torch.testing.assert_close(trace.nodes["z"]["fn"].variance[0], expected)


def test_a_second_update_replaces_the_first() -> None:
    vae, x = bernoulli_vae(FloatingPrior(2)), data(11)
    update_statistics(vae.model, vae.guide, x[:2])
    update_statistics(vae.model, vae.guide, x)
    torch.testing.assert_close(vae.prior().variance, optimal_prior_variance(vae.guide.posterior(x)))


def test_training_steps_leave_the_estimate_alone() -> None:
    vae, x = bernoulli_vae(FloatingPrior(2)), data()
    update_statistics(vae.model, vae.guide, x)
    before = vae.prior().variance.clone()
    vae.train()
    ELBO().loss(vae.model, vae.guide, x[:2])
    assert torch.equal(vae.prior().variance, before)


def test_evaluation_before_an_estimate_is_an_error_that_says_what_to_do() -> None:
    vae, x = bernoulli_vae(FloatingPrior(2)), data()
    with pytest.raises(RuntimeError, match="update_statistics"):
        vae.generate(3)
    vae.eval()
    with pytest.raises(RuntimeError, match="update_statistics"):
        ELBO().loss(vae.model, vae.guide, x)


def test_the_gradient_flows_through_the_batchs_variance() -> None:
    """Against the closed form of the mean KL, −½ Σ_j E_B log Σ_j + ½ Σ_j log S²_j."""
    vae, x = bernoulli_vae(FloatingPrior(2)), data()
    weights = list(vae.guide.parameters())
    mean, variance = normal_moments(vae.guide.posterior(x))
    optimal = (variance + mean.square()).mean(0)
    kl = 0.5 * len(x) * (optimal.log() - variance.log().mean(0)).sum()
    expected = torch.autograd.grad(kl, weights)
    objective = ELBO(analytic_kl=True)
    particles = objective.particles(vae.model, vae.guide, x)
    actual = torch.autograd.grad(objective.kl(particles).sum(), weights)
    torch.testing.assert_close(actual, expected)


# --- FloatingPriorELBO and BILBO ---------------------------------------------------------------


@pytest.mark.parametrize("analytic", [True, False])
@pytest.mark.parametrize("particles", [1, 4])
def test_floating_prior_elbo_is_elbo_on_a_vae_with_a_floating_prior(
    analytic: bool, particles: int
) -> None:
    vae = bernoulli_vae(FloatingPrior(2))
    ours = FloatingPriorELBO(particles, analytic_kl=analytic)
    assert_same_loss(ours, ELBO(particles, analytic_kl=analytic), vae, data())


@pytest.mark.parametrize("make", [bernoulli_vae, constant_vae])
@pytest.mark.parametrize("particles", [1, 4])
def test_bilbo_and_floating_prior_elbo_have_the_same_batch_mean(make: type, particles: int) -> None:
    vae, x = make(StandardNormalPrior(2)), data()
    assert_same_loss(BILBO(particles), FloatingPriorELBO(particles), vae, x)
    pyro.set_rng_seed(4)
    bilbo = BILBO(particles).per_datum(vae.model, vae.guide, x)
    pyro.set_rng_seed(4)
    floating = FloatingPriorELBO(particles).per_datum(vae.model, vae.guide, x)
    torch.testing.assert_close(bilbo.mean(), floating.mean())
    assert (bilbo - floating).abs().max() > 1e-3


def test_the_models_own_prior_is_not_read() -> None:
    x = data()
    losses = []
    for prior in (StandardNormalPrior(2), FloatingPrior(2)):
        pyro.set_rng_seed(1)
        vae = constant_vae(prior)
        losses.append(value_and_gradients(BILBO(3), vae, x))
    torch.testing.assert_close(losses[0], losses[1])


def test_bilbo_is_equation_24() -> None:
    """−½ log|I + Σ⁻¹M_B| + E_B E_q[log p(x|z)] written out in numpy, for Σ = s²I."""
    scale = 0.3
    vae, x = constant_vae(StandardNormalPrior(2), scale), data()
    particles = BILBO(4).particles(vae.model, vae.guide, x)
    mu = vae.guide.encoder(x).detach().numpy()
    second_moment = np.diag(np.diag(mu.T @ mu / len(mu)))  # M_B, diagonal as S is
    information = 0.5 * np.linalg.slogdet(np.eye(2) + second_moment / scale**2)[1]
    (z,) = particles.latents
    logits = vae.likelihood.decoder(z.value).detach().numpy()
    p = 1 / (1 + np.exp(-logits))
    log_likelihood = (x.numpy() * np.log(p) + (1 - x.numpy()) * np.log1p(-p)).sum(-1)
    bound = BILBO(4).bound(particles)
    np.testing.assert_allclose(bound.mean().item(), log_likelihood.mean() - information)
    np.testing.assert_allclose(bound.detach(), log_likelihood.mean(0) - information)


def test_floating_prior_elbo_is_equation_2_with_equation_4() -> None:
    scale = 0.3
    vae, x = constant_vae(StandardNormalPrior(2), scale), data()
    objective = FloatingPriorELBO(4)
    particles = objective.particles(vae.model, vae.guide, x)
    mu = vae.guide.encoder(x).detach().numpy()
    prior = scale**2 + (mu**2).mean(0)  # S²
    terms = math.log(math.e * scale**2) - np.log(prior) - scale**2 / prior - mu**2 / prior
    expected = 0.5 * terms.sum(1) + particles.reconstruction.mean(0).detach().numpy()
    np.testing.assert_allclose(objective.bound(particles).detach(), expected)


@pytest.mark.parametrize("objective", [BILBO(2), FloatingPriorELBO(2)], ids=repr)
def test_they_are_judged_by_the_ordinary_elbo_under_the_prior_the_model_has(
    objective: Objective,
) -> None:
    vae, x = bernoulli_vae(FloatingPrior(2)), data()
    update_statistics(vae.model, vae.guide, x)
    vae.eval()
    judged = objective.for_evaluation()
    assert judged.settings() == ELBO(2, analytic_kl=True).settings()
    assert type(judged) is ELBO
    pyro.set_rng_seed(4)
    bound = judged.per_datum(vae.model, vae.guide, x[:3])
    pyro.set_rng_seed(4)
    expected = ELBO(2, analytic_kl=True).per_datum(vae.model, vae.guide, x[:3])
    assert torch.equal(bound, expected)


def test_a_batch_flatters_by_at_most_half_n_over_b_on_average() -> None:
    """log|·| is concave, so an average over a batch makes the information smaller, not larger."""
    means, size = torch.randn(1000, 2) * torch.tensor([1.0, 2.0]), 5

    def information(mu: Tensor) -> Tensor:
        q = pyro.distributions.Normal(mu, torch.ones_like(mu)).to_event(1)
        return 0.5 * optimal_prior_variance(q).log().sum()

    batches = torch.stack([information(means[torch.randperm(1000)[:size]]) for _ in range(2000)])
    flattery = information(means) - batches.mean()
    error = batches.std() / 2000**0.5
    # 5 standard errors: a false alarm less than once in 10⁶.
    assert flattery > 5 * error
    assert flattery < 2 / (2 * size) + 5 * error
