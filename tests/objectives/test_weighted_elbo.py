"""β and free bits: the value stays the bound, the gradient is the weighted objective's."""

from __future__ import annotations

import math

import pyro
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pyro_vae import ELBO, PairError
from pyro_vae.distributions import normal_moments
from tests.objectives.pairs import bernoulli_vae, scalar_pair

pytestmark = pytest.mark.usefixtures("float64")

X = torch.tensor([[1.0, 1, 0, 0, 1, 0], [0, 1, 1, 0, 0, 1], [1, 0, 0, 1, 1, 1]])


def by_hand(vae: torch.nn.Module, x: Tensor, beta: float, bits: float) -> Tensor:
    """−Σ_batch E[log p(x|z)] + β Σ_j B·max(λ, mean KL_j), in plain torch, from one draw."""
    mean, variance = normal_moments(vae.guide.posterior(x))
    z = mean + variance.sqrt() * torch.randn(len(x), 2)
    logits = vae.likelihood.decoder(z)
    reconstruction = -binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = 0.5 * (variance + mean.square() - 1 - variance.log())
    return -reconstruction + beta * len(x) * kl.mean(0).clamp(min=bits).sum()


def gradients(loss: Tensor, module: torch.nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters())))


@pytest.mark.parametrize(("beta", "bits"), [(4.0, 0.0), (1.0, 0.05), (0.5, 0.05), (0.0, 0.0)])
def test_the_gradient_is_that_of_the_weighted_objective(beta: float, bits: float) -> None:
    vae, x = bernoulli_vae(), X.double()
    pyro.set_rng_seed(6)
    loss = ELBO(analytic_kl=True, beta=beta, free_bits=bits).differentiable_loss(
        vae.model, vae.guide, x
    )
    pyro.set_rng_seed(6)
    expected = by_hand(vae, x, beta, bits)
    torch.testing.assert_close(gradients(loss, vae), gradients(expected, vae))


@pytest.mark.parametrize("analytic", [True, False])
@pytest.mark.parametrize(
    "options", [{"beta": 4.0}, {"free_bits": 1.0}, {"beta": torch.tensor(4.0)}]
)
def test_the_value_is_the_plain_bound(analytic: bool, options: dict[str, float]) -> None:
    vae, x = bernoulli_vae(), X.double()
    losses = []
    for elbo in (ELBO(3, analytic_kl=analytic, **options), ELBO(3, analytic_kl=analytic)):
        pyro.set_rng_seed(6)
        losses.append(elbo.loss(vae.model, vae.guide, x))
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)


def test_beta_may_be_changed_between_steps() -> None:
    vae, x = bernoulli_vae(), X.double()
    annealed, fixed = ELBO(beta=0.0, analytic_kl=True), ELBO(beta=2.0, analytic_kl=True)
    annealed.beta = 2.0
    losses = []
    for elbo in (annealed, fixed):
        pyro.set_rng_seed(6)
        losses.append(gradients(elbo.differentiable_loss(vae.model, vae.guide, x), vae))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("sampled", [True, False])
def test_free_bits_free_each_dimension_below_the_limit_on_the_batchs_average(sampled: bool) -> None:
    """Two latents of KL about 2 and 0.005 nats, λ between them: the second has no gradient."""
    mean = torch.tensor([[2.2, 0.1], [-1.8, -0.1]], requires_grad=True)

    def model(x: Tensor) -> None:
        with pyro.plate("data", 2, dim=-1):
            prior = pyro.distributions.Normal(torch.zeros(2), 1.0).to_event(1)
            pyro.sample("z", prior)
            pyro.sample("x", pyro.distributions.Normal(0.0, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 2, dim=-1):
            pyro.sample("z", pyro.distributions.Normal(mean, 1.0).to_event(1))

    # Sampled, the average over 4000 draws has errors of about 0.03 nats: far from the limit.
    elbo = ELBO(4000 if sampled else 1, analytic_kl=not sampled, free_bits=0.7)
    loss = elbo.differentiable_loss(model, guide, torch.zeros(2))
    (gradient,) = torch.autograd.grad(loss, mean)
    assert (gradient[:, 1] == 0).all()
    # A mean of 4000 unit normals has error 0.016: 0.2 is more than ten of them.
    tolerance = 0.2 if sampled else 1e-12
    torch.testing.assert_close(gradient[:, 0], mean[:, 0].detach(), rtol=0, atol=tolerance)


def test_free_bits_are_nats_of_the_batchs_average_not_of_a_datum() -> None:
    """One datum far above λ, the average below: no gradient at all."""
    mean = torch.tensor([[1.5], [0.0], [0.0], [0.0]], requires_grad=True)  # mean KL 0.28

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 4, dim=-1):
            pyro.sample("z", pyro.distributions.Normal(mean, 1.0).to_event(1))

    def model(x: Tensor) -> None:
        with pyro.plate("data", 4, dim=-1):
            pyro.sample("z", pyro.distributions.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", pyro.distributions.Normal(0.0, 1.0), obs=x)

    for bits, free in [(0.29, True), (0.28, False)]:
        loss = ELBO(analytic_kl=True, free_bits=bits).differentiable_loss(
            model, guide, torch.zeros(4)
        )
        (gradient,) = torch.autograd.grad(loss, mean)
        assert bool((gradient == 0).all()) is free


def test_free_bits_of_each_datum_are_those_of_yus_notebook() -> None:
    """Σ_j relu(KL_j − λ) + λ of each datum: data and dimensions below λ have no gradient, whatever
    the average."""
    mean = torch.tensor([[1.5, 0.1], [0.0, 0.9], [0.2, 0.0]], requires_grad=True)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 3, dim=-1):
            pyro.sample("z", pyro.distributions.Normal(mean, 1.0).to_event(1))

    def model(x: Tensor) -> None:
        with pyro.plate("data", 3, dim=-1):
            pyro.sample("z", pyro.distributions.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", pyro.distributions.Normal(0.0, 1.0), obs=x)

    limit = 0.05 * math.log(2)
    elbo = ELBO(analytic_kl=True, free_bits=limit, free_each_datum=True)
    (found,) = torch.autograd.grad(elbo.differentiable_loss(model, guide, torch.zeros(3)), mean)
    kl = 0.5 * mean.square()
    (expected,) = torch.autograd.grad((torch.relu(kl - limit) + limit).sum(), mean)
    torch.testing.assert_close(found, expected)
    assert (found != 0).sum() == 2


def test_free_bits_need_factorised_distributions() -> None:
    with pytest.raises(PairError, match=r"to_event\(1\)"):
        ELBO(free_bits=0.1).differentiable_loss(*scalar_pair(), torch.randn(4))


@pytest.mark.parametrize("options", [{"beta": -1.0}, {"free_bits": -0.1}])
def test_negative_weights_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="beta, free_bits"):
        ELBO(**options)
