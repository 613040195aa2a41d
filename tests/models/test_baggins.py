"""BAGGINS: Fyffe's equations 28 to 30, its invariance, and what it is for evaluation."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyro_vae import (
    BAGGINS,
    BILBO,
    ELBO,
    VAE,
    ConstantNormalGuide,
    FixedVariance,
    FloatingPrior,
    FlowGuide,
    LearnedVariance,
    NormalGuide,
    NormalLikelihood,
    OptimalVariance,
    PairError,
    StandardNormalPrior,
    adam,
    fit,
    update_statistics,
)
from pyro_vae.distributions import Flip, optimal_prior_variance
from pyro_vae.nn import MLP, Scale
from pyro_vae.objectives import Particles, run_particles

X = torch.rand(16, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

pytestmark = pytest.mark.usefixtures("float64")


def baggins_vae(tau: float = 0.2, *, each_datum: bool = False, scale: float = 1.0) -> VAE:
    """For data times ``scale``: the encoder sees them in their own unit."""
    torch.manual_seed(1)
    encoder = nn.Sequential(Scale(1 / scale), MLP(5, [6], 2, activation=nn.Tanh))
    decoder = nn.Sequential(MLP(2, [6], 5, activation=nn.Tanh), Scale(scale))
    return VAE(
        prior=FloatingPrior(2),
        likelihood=NormalLikelihood(decoder, BAGGINS(tau, each_datum=each_datum)),
        guide=ConstantNormalGuide(encoder, 0.5),
    )


def run(vae: VAE, x: Tensor, particles: int = 1) -> tuple[Particles, Tensor, Tensor]:
    """Particles, squared errors |x − ν(z)|² of each, and the information tr Σ⁻¹S² of the batch."""
    pyro.set_rng_seed(3)
    found = run_particles(vae.model, vae.guide, x, num_particles=particles)
    [site] = found.latents
    squared = (x - vae.likelihood.decoder(site.value)).square().sum(-1)
    variance = 0.5**2
    information = (optimal_prior_variance(vae.guide.posterior(x)) / variance).sum()
    return found, squared, information


@pytest.mark.parametrize("particles", [1, 4])
@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_the_variance_is_equation_29_of_the_batch(tau: float, particles: int) -> None:
    vae = baggins_vae(tau)
    found, squared, information = run(vae, X, particles)
    variance = tau * squared.mean() / information
    log_p = -0.5 * (squared / variance + 5 * (2 * math.pi * variance).log())
    torch.testing.assert_close(found.reconstruction, log_p.reshape(particles, -1))


@pytest.mark.parametrize("each_datum", [False, True])
def test_with_bilbo_the_bound_is_equation_30(each_datum: bool) -> None:
    vae, tau, sigma = baggins_vae(0.3, each_datum=each_datum), 0.3, 0.5**2
    found, squared, information = run(vae, X)
    mean = vae.guide.posterior(X).mean
    m_b = mean.square().mean(0)
    of = squared if each_datum else squared.mean().expand(16)
    log_t = 5 * (2 * math.pi * tau * of / information).log()
    aggregate = (1 + m_b / sigma).log().sum() + (1 + m_b / sigma).sum() / tau + log_t.mean()
    torch.testing.assert_close(BILBO().bound(found).mean(), -0.5 * aggregate)


@pytest.mark.parametrize("each_datum", [False, True])
def test_gradients_flow_through_the_aggregate(each_datum: bool) -> None:
    """Those of eq. 30, differentiated as it is written."""
    vae = baggins_vae(each_datum=each_datum)
    found, squared, information = run(vae, X)
    weights = list(vae.parameters())
    of = squared.log().mean() if each_datum else squared.mean().log()
    direct = 5 * (of - information.log()) + information / 0.2
    m_b = vae.guide.posterior(X).mean.square().mean(0)
    direct = -0.5 * (direct + (1 + m_b / 0.5**2).log().sum())
    torch.testing.assert_close(
        torch.autograd.grad(BILBO().bound(found).mean(), weights, retain_graph=True),
        torch.autograd.grad(direct, weights),
    )


@pytest.mark.parametrize("objective", [ELBO(), BILBO()], ids=repr)
@pytest.mark.parametrize("each_datum", [False, True])
def test_the_scale_of_the_data_shifts_the_bound_and_changes_nothing_else(
    objective: ELBO | BILBO, each_datum: bool
) -> None:
    """λ from 1/16 to 16: −m log λ, and the same gradients, step and latents, to the last digits."""
    seen = []
    for scale in (1 / 16, 1 / 4, 1.0, 4.0, 16.0):
        vae, x = baggins_vae(each_datum=each_datum, scale=scale), scale * X
        optimizer = torch.optim.Adam(vae.parameters(), 0.01)
        pyro.set_rng_seed(4)
        loss = objective.differentiable_loss(vae.model, vae.guide, x) / len(x)
        loss.backward()
        optimizer.step()
        after = [parameter.detach().clone() for parameter in vae.parameters()]
        latents = vae.guide.posterior(x).mean.detach()
        seen.append([loss.detach() - 5 * math.log(scale), latents, *after])
    for found in seen[1:]:
        torch.testing.assert_close(found, seen[0], rtol=1e-12, atol=1e-13)


def test_for_evaluation_it_is_one_variance_of_the_training_set_and_p_a_density() -> None:
    vae, x = baggins_vae(), X
    update_statistics(vae.model, vae.guide, x, batch_size=7)
    vae.eval()
    variance = vae.likelihood.variance()
    p = vae.likelihood(torch.zeros(3, 2))
    torch.testing.assert_close(p.variance, variance.expand(3, 5))
    torch.testing.assert_close(
        vae.likelihood.during_inference(torch.zeros(16, 2), x).variance, variance.expand(16, 5)
    )
    # |x − ν(z)|² is of one draw of z a datum: 16 data, here held against many draws.
    mean = vae.guide.posterior(x).mean
    z = mean + 0.5 * torch.randn(20_000, 16, 2)
    squared = (x - vae.likelihood.decoder(z)).square().sum(-1)
    information = ((0.5**2 + mean.square()).mean(0) / 0.5**2).sum()
    expected = 0.2 * squared.mean() / information
    spread = 0.2 * squared.mean(1).std() / information
    # Batches' information is on average that of the whole; one draw: 6 deviations, once in 10⁸.
    assert abs(variance - expected) < 6 * spread


def test_before_its_estimate_evaluation_says_what_to_do() -> None:
    vae = baggins_vae().eval()
    with pytest.raises(RuntimeError, match=r"BAGGINS's squared error.*update_statistics"):
        vae.decode(torch.zeros(3, 2))


def test_fit_trains_with_it_and_leaves_the_estimate() -> None:
    vae = baggins_vae()
    history = fit(vae, X, objective=BILBO(), epochs=30, batch_size=8, optimizer=adam(0.01))
    assert history["bound"][-1] > history["bound"][0]
    assert vae.generate(3).shape == (3, 5)
    assert 0 < vae.likelihood.variance() < 1


def test_stock_pyro_has_the_same_bound() -> None:
    vae = baggins_vae()
    losses = []
    for objective in (ELBO(), Trace_ELBO()):
        pyro.set_rng_seed(4)
        losses.append(objective.loss(vae.model, vae.guide, X))
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_posteriors_that_are_no_diagonal_normals_are_refused() -> None:
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(nn.Linear(2, 5), BAGGINS()),
        guide=FlowGuide(NormalGuide(nn.Linear(5, 4)), [Flip()]),
    )
    with pytest.raises(PairError, match="diagonal Normal"):
        ELBO().loss(vae.model, vae.guide, X)


def test_without_a_guide_there_is_nothing_to_estimate_from() -> None:
    with pytest.raises(PairError, match="expected the posteriors of the batch"):
        baggins_vae().likelihood.during_inference(torch.zeros(16, 2), X)


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan"), float("inf")])
def test_tau_is_positive(tau: float) -> None:
    with pytest.raises(ValueError, match="tau: expected a positive, finite number"):
        BAGGINS(tau)


# --- the other variances -------------------------------------------------------------------------


def test_the_optimal_variance_of_each_datum_is_the_log_of_its_own_error() -> None:
    likelihood = NormalLikelihood(nn.Linear(2, 5), OptimalVariance(each_datum=True))
    z = torch.randn(3, 16, 2)
    mse = (X - likelihood.decoder(z)).square().mean(-1)
    expected = -5 / 2 * ((2 * math.pi * mse).log() + 1)
    torch.testing.assert_close(likelihood.during_inference(z, X).log_prob(X), expected)


def test_images_have_a_variance_a_datum_too() -> None:
    decoder = nn.Sequential(nn.Linear(2, 12), nn.Unflatten(-1, (1, 3, 4)))
    x = torch.rand(6, 1, 3, 4)
    q = dist.Normal(torch.zeros(6, 2), 1.0).to_event(1)
    for variance in (OptimalVariance(each_datum=True), BAGGINS(each_datum=True), BAGGINS()):
        p = NormalLikelihood(decoder, variance).during_inference(torch.randn(2, 6, 2), x, lambda: q)
        assert p.log_prob(x).shape == (2, 6)


def test_a_learned_variance_may_be_bounded() -> None:
    variance = LearnedVariance(least=0.1)
    with torch.no_grad():
        variance.log_variance.fill_(-100.0)
    torch.testing.assert_close(variance(), torch.tensor(0.1))
    with pytest.raises(ValueError, match="least: expected a finite number ≥ 0"):
        LearnedVariance(least=-1.0)


def test_baggins_at_the_tau_of_its_information_is_the_optimal_variance() -> None:
    vae = baggins_vae(1.0)
    _, squared, information = run(vae, X)
    vae.likelihood.variance.tau = information.item() / 5
    found, _, _ = run(vae, X)
    held = NormalLikelihood(vae.likelihood.decoder, FixedVariance(squared.mean().item() / 5))
    [site] = found.latents
    torch.testing.assert_close(found.reconstruction[0], held(site.value).log_prob(X))
