"""Hand-written model/guide pairs, and how an objective's value and gradient are read off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor, nn

from pyro_vae import VAE, BernoulliLikelihood, NormalGuide, Prior, StandardNormalPrior
from pyro_vae.nn import MLP

Program = Callable[..., Any]


def bernoulli_vae(prior: Prior | None = None, *, data_dim: int = 6, latent_dim: int = 2) -> VAE:
    """A small non-linear VAE for values in [0, 1]."""
    return VAE(
        prior=StandardNormalPrior(latent_dim) if prior is None else prior,
        likelihood=BernoulliLikelihood(MLP(latent_dim, [5], data_dim, activation=nn.Tanh)),
        guide=NormalGuide(MLP(data_dim, [5], 2 * latent_dim, activation=nn.Tanh)),
    )


def normal_prior(size: int) -> dist.Distribution:
    return dist.Normal(torch.zeros(size), torch.ones(size)).to_event(1)


def function_model(x: Tensor) -> None:
    """Plain functions with ``pyro.param``: z ~ N(0, I), x ~ N(zW, s²)."""
    weight = pyro.param("weight", torch.tensor([[1.0, -0.5, 0.2], [0.3, 0.8, -1.0]]))
    noise = pyro.param("noise", torch.tensor(0.7), constraint=constraints.positive)
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", normal_prior(2))
        pyro.sample("x", dist.Normal(z @ weight, noise).to_event(1), obs=x)


def function_guide(x: Tensor) -> None:
    weight = pyro.param("guide_weight", torch.tensor([[0.4, 0.1], [-0.2, 0.5], [0.1, -0.3]]))
    scale = pyro.param("scale", torch.tensor([0.6, 0.9]), constraint=constraints.positive)
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x @ weight, scale).to_event(1))


def scalar_pair(
    *, size: int | None = None, index: Tensor | None = None, observed: Tensor | None = None
) -> tuple[Program, Program]:
    """x ~ N(wz, 1) with a guide N(vx, s²), perhaps on a subsample or with masked data."""

    def plate(x: Tensor) -> pyro.plate:
        return pyro.plate("data", len(x), subsample_size=size, subsample=index, dim=-1)

    def mask(rows: Tensor) -> Any:
        return pyro.poutine.mask(mask=True if observed is None else observed[rows])

    def model(x: Tensor) -> None:
        weight = pyro.param("weight", torch.tensor(1.3))
        with plate(x) as rows, mask(rows):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(weight * z, 1.0), obs=x[rows])

    def guide(x: Tensor) -> None:
        weight = pyro.param("guide_weight", torch.tensor(0.4))
        scale = pyro.param("scale", torch.tensor(0.8), constraint=constraints.positive)
        with plate(x) as rows, mask(rows):
            pyro.sample("z", dist.Normal(weight * x[rows], scale))

    return model, guide


def global_pair(*, index: Tensor | None = None) -> tuple[Program, Program]:
    """A site ``"shift"`` shared by all data, and a latent of each datum."""

    def plate(x: Tensor) -> pyro.plate:
        return pyro.plate("data", len(x), subsample=index, dim=-1)

    def model(x: Tensor) -> None:
        shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
        with plate(x) as rows:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + shift, 1.0), obs=x[rows])

    def guide(x: Tensor) -> None:
        mean = pyro.param("mean", torch.tensor(0.2))
        weight = pyro.param("weight", torch.tensor(0.5))
        pyro.sample("shift", dist.Normal(mean, 0.5))
        with plate(x) as rows:
            pyro.sample("z", dist.Normal(weight * x[rows], 0.7))

    return model, guide


def hierarchical_pair(*, top_first: bool = True) -> tuple[Program, Program]:
    """u ~ N(0, 1), z ~ N(wu, 1), x ~ N(z, 1)."""

    def model(x: Tensor) -> None:
        weight = pyro.param("weight", torch.tensor(0.9))
        with pyro.plate("data", len(x), dim=-1):
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            z = pyro.sample("z", dist.Normal(weight * u, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        a, b = pyro.param("a", torch.tensor(0.3)), pyro.param("b", torch.tensor(0.6))
        with pyro.plate("data", len(x), dim=-1):
            if top_first:
                u = pyro.sample("u", dist.Normal(a * x, 0.8))
                pyro.sample("z", dist.Normal(b * x + 0.1 * u, 0.7))
            else:
                z = pyro.sample("z", dist.Normal(b * x, 0.7))
                pyro.sample("u", dist.Normal(a * z, 0.8))

    return model, guide


def nested_pair() -> tuple[Program, Program]:
    """A latent of each group, one of each member; x is [member, group], dims −2 and −1."""

    def plates(x: Tensor) -> tuple[pyro.plate, pyro.plate]:
        members, groups = x.shape
        return pyro.plate("groups", groups, dim=-1), pyro.plate("members", members, dim=-2)

    def model(x: Tensor) -> None:
        groups, members = plates(x)
        with groups:
            u = pyro.sample("u", dist.Normal(0.0, 1.0))
            with members:
                z = pyro.sample("z", dist.Normal(u, 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        a, b = pyro.param("a", torch.tensor(0.3)), pyro.param("b", torch.tensor(0.6))
        groups, members = plates(x)
        with groups:
            pyro.sample("u", dist.Normal(a * x.mean(0), 0.8))
            with members:
                pyro.sample("z", dist.Normal(b * x, 0.7))

    return model, guide


def store_parameters() -> dict[str, Tensor]:
    return dict(pyro.get_param_store().named_parameters())


def value_and_gradients(
    objective: pyro.infer.ELBO, model: Program, guide: Program, *args: Any, seed: int = 3
) -> tuple[float, dict[str, Tensor]]:
    """The loss that ``loss_and_grads`` returns and the gradients it leaves, from a given seed."""
    pyro.poutine.trace(guide).get_trace(*args)  # parameters come to be at the first call
    pyro.poutine.trace(model).get_trace(*args)
    parameters = store_parameters()
    for parameter in parameters.values():
        parameter.grad = None
    pyro.set_rng_seed(seed)
    value = objective.loss_and_grads(model, guide, *args)
    gradients = {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in parameters.items()
    }
    return float(value), gradients


def assert_same(
    ours: pyro.infer.ELBO, stock: pyro.infer.ELBO, model: Program, guide: Program, *args: Any
) -> None:
    """Equal value and equal gradients from the same random numbers."""
    value, gradients = value_and_gradients(ours, model, guide, *args)
    expected, expected_gradients = value_and_gradients(stock, model, guide, *args)
    assert gradients
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-8, atol=1e-10)
