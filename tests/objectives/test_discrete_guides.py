"""Guides without a reparameterised sample: gradients against those of the exact, enumerated bound.

Each test compares gradients averaged over 40 runs with the exact one, parameter by parameter, and
allows six standard errors (Student's t, 39 degrees of freedom): with up to three parameters a false
alarm about once in 10⁶ runs with other seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_vae import ELBO, IWAE, MIWAE, Objective, Renyi

pytestmark = pytest.mark.usefixtures("float64")

Parameters = dict[str, Tensor]
X = 0.9  # the one datum


def bernoulli_parameters() -> Parameters:
    values = {"weight": 1.4, "bias": -0.3, "logit": 0.6}
    return {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}


def bernoulli_pair(p: Parameters) -> tuple[Callable[..., None], Callable[..., None]]:
    """z ~ Bernoulli(0.4), x ~ N(wz + b, 1), q(z|x) = Bernoulli(logit)."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.4)))
            pyro.sample("x", dist.Normal(p["weight"] * z + p["bias"], 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Bernoulli(logits=p["logit"]))

    return model, guide


def bernoulli_terms(p: Parameters) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x|z), log p(z) and log q(z) at z = 0, 1."""
    z, x = torch.tensor([0.0, 1.0]), torch.tensor(X)
    log_likelihood = dist.Normal(p["weight"] * z + p["bias"], 1.0).log_prob(x)
    prior, q = dist.Bernoulli(torch.tensor(0.4)), dist.Bernoulli(logits=p["logit"])
    return log_likelihood, prior.log_prob(z), q.log_prob(z)


def exact_elbo(p: Parameters, beta: float = 1.0) -> Tensor:
    log_likelihood, log_prior, log_q = bernoulli_terms(p)
    return (log_q.exp() * (log_likelihood + beta * (log_prior - log_q))).sum()


def exact_iwae(p: Parameters, k: int) -> Tensor:
    log_likelihood, log_prior, log_q = bernoulli_terms(p)
    log_weight = log_likelihood + log_prior - log_q
    draws = torch.tensor(list(itertools.product([0, 1], repeat=k)))
    value = log_weight[draws].logsumexp(1) - torch.tensor(float(k)).log()
    return (log_q[draws].sum(1).exp() * value).sum()


def exact_renyi(p: Parameters, k: int, alpha: float) -> Tensor:
    log_likelihood, log_prior, log_q = bernoulli_terms(p)
    log_weight = (1 - alpha) * (log_likelihood + log_prior - log_q)
    draws = torch.tensor(list(itertools.product([0, 1], repeat=k)))
    value = (log_weight[draws].logsumexp(1) - torch.tensor(float(k)).log()) / (1 - alpha)
    return (log_q[draws].sum(1).exp() * value).sum()


def assert_unbiased(
    gradients: Callable[[], tuple[Tensor, ...]], exact: tuple[Tensor, ...], runs: int
) -> None:
    draws = torch.stack([torch.stack(gradients()) for _ in range(runs)])
    error = draws.std(0) / runs**0.5
    deviation = (draws.mean(0) - torch.stack(exact)) / error
    assert (deviation.abs() < 6).all(), deviation


@pytest.mark.parametrize(
    ("objective", "exact"),
    [
        (ELBO(), exact_elbo),
        (ELBO(3), exact_elbo),
        (ELBO(2, analytic_kl=True), exact_elbo),
        (ELBO(2, beta=3.0), lambda p: exact_elbo(p, 3.0)),
        (ELBO(2, beta=3.0, analytic_kl=True), lambda p: exact_elbo(p, 3.0)),
        (IWAE(1), lambda p: exact_iwae(p, 1)),
        (IWAE(3), lambda p: exact_iwae(p, 3)),
        (MIWAE(4, num_groups=2), lambda p: exact_iwae(p, 2)),
        (Renyi(3, alpha=0.5), lambda p: exact_renyi(p, 3, 0.5)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Objective) else "",
)
def test_the_score_function_gradient_is_unbiased(
    objective: Objective, exact: Callable[[Parameters], Tensor]
) -> None:
    p = bernoulli_parameters()
    model, guide = bernoulli_pair(p)
    x = torch.full((2000,), X)  # independent replications in the plate

    def gradients() -> tuple[Tensor, ...]:
        loss = objective.differentiable_loss(model, guide, x)
        return torch.autograd.grad(-loss / len(x), list(p.values()))

    assert_unbiased(gradients, torch.autograd.grad(exact(p), list(p.values())), runs=40)


@pytest.mark.parametrize("objective", [ELBO(3), IWAE(3), ELBO(3, beta=2.0)], ids=repr)
def test_the_value_is_the_bound_also_where_the_gradient_is_another(objective: Objective) -> None:
    model, guide = bernoulli_pair(bernoulli_parameters())
    particles = objective.particles(model, guide, torch.full((20,), X))
    torch.testing.assert_close(objective.loss_of(particles), -objective.bound(particles).sum())


def test_a_categorical_guide_has_the_exact_gradient() -> None:
    logits = torch.tensor([0.2, -0.4, 0.9], requires_grad=True)
    means = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    prior = dist.Categorical(torch.tensor([0.2, 0.5, 0.3]))

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(means[z], 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Categorical(logits=logits))

    log_q = logits.log_softmax(0)
    log_joint = dist.Normal(means, 1.0).log_prob(torch.tensor(X)) + prior.probs.log()
    exact = torch.autograd.grad((log_q.exp() * (log_joint - log_q)).sum(), [logits, means])
    x = torch.full((2000,), X)

    def gradients() -> tuple[Tensor, ...]:
        loss = ELBO(2).differentiable_loss(model, guide, x)
        return torch.autograd.grad(-loss / len(x), [logits, means])

    assert_unbiased(gradients, exact, runs=40)


def test_a_discrete_and_a_normal_latent_have_unbiased_gradients_together() -> None:
    """q(c)q(y|c): the normal site is reparameterised, the discrete one scored."""
    logit, mean = (torch.tensor(value, requires_grad=True) for value in (0.5, 0.2))

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.5)))
            y = pyro.sample("y", dist.Normal(c, 1.0))
            pyro.sample("x", dist.Normal(y, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            c = pyro.sample("c", dist.Bernoulli(logits=logit))
            pyro.sample("y", dist.Normal(mean + c, 1.0))

    # E over y ~ N(m + c, 1) of log N(y; c, 1) + log N(x; y, 1) − log q(y), in closed form.
    c = torch.tensor([0.0, 1.0])
    kl_y = 0.5 * mean.square()
    fit = -0.5 * ((X - mean - c).square() + 1)
    q = torch.stack([torch.sigmoid(-logit), torch.sigmoid(logit)])
    exact_bound = (q * (fit - kl_y - q.log())).sum()
    exact = torch.autograd.grad(exact_bound, [logit, mean])
    x = torch.full((2000,), X)

    def gradients() -> tuple[Tensor, ...]:
        loss = ELBO(2).differentiable_loss(model, guide, x)
        return torch.autograd.grad(-loss / len(x), [logit, mean])

    assert_unbiased(gradients, exact, runs=40)


def test_a_subsampled_discrete_latent_beside_a_global_one_has_an_unbiased_gradient() -> None:
    """The plates' scales differ here: N/B multiplies the bound, not the score."""
    top, local = (torch.tensor(value, requires_grad=True) for value in (0.7, -0.4))
    data = torch.tensor([0.2, 1.5, -0.6])

    def programs(index: Tensor) -> tuple[Callable[[], None], Callable[[], None]]:
        def model() -> None:
            b = pyro.sample("b", dist.Bernoulli(torch.tensor(0.4)))
            with pyro.plate("data", 3, subsample=index, dim=-1):
                z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.5)))
                pyro.sample("x", dist.Normal(z + b, 1.0), obs=data[index])

        def guide() -> None:
            pyro.sample("b", dist.Bernoulli(logits=top))
            with pyro.plate("data", 3, subsample=index, dim=-1):
                pyro.sample("z", dist.Bernoulli(logits=local))

        return model, guide

    bit = torch.tensor([0.0, 1.0])
    log_top, log_local = (dist.Bernoulli(logits=logit).log_prob(bit) for logit in (top, local))
    log_x = dist.Normal(bit[:, None] + bit, 1.0).log_prob(data[:, None, None])  # [datum, b, z]
    local_terms = (log_local.exp() * (log_x - log_local + torch.tensor(0.5).log())).sum(-1)
    prior = dist.Bernoulli(torch.tensor(0.4)).log_prob(bit)
    bound = (log_top.exp() * (prior - log_top + local_terms.sum(0))).sum()
    exact = torch.autograd.grad(bound, [top, local])
    objective = ELBO(500)

    def gradients() -> tuple[Tensor, ...]:
        losses = [objective.differentiable_loss(*programs(torch.tensor([i]))) for i in range(3)]
        return torch.autograd.grad(-sum(losses) / 3, [top, local])

    assert_unbiased(gradients, exact, runs=40)
