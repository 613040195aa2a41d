"""Small pairs to train, and how to compare what training leaves behind."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vae import (
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    FloatingPrior,
    NormalGuide,
    NormalLikelihood,
    OptimalVariance,
    Pair,
    StandardNormalPrior,
)
from pyro_vae.data import Dynamic, Examples, digits
from pyro_vae.nn import MLP


def some_digits(first: int = 0, count: int = 200, dynamic: bool = True) -> Examples:
    data = digits(Dynamic()) if dynamic else digits()
    return data.train.take(slice(first, first + count))


def small_vae(seed: int = 0, hidden: int = 8) -> VAE:
    torch.manual_seed(seed)
    return VAE(
        prior=StandardNormalPrior(2),
        likelihood=BernoulliLikelihood(MLP(2, [hidden], 64)),
        guide=NormalGuide(MLP(64, [hidden], 4)),
    )


def floating_vae(seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return VAE(
        prior=FloatingPrior(2),
        likelihood=BernoulliLikelihood(MLP(2, [8], 64)),
        guide=ConstantNormalGuide(MLP(64, [8], 2)),
    )


def optimal_vae(seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(MLP(2, [8], 64), OptimalVariance()),
        guide=NormalGuide(MLP(64, [8], 4)),
    )


class Blind(nn.Module):
    """A guide that samples z from its prior, whatever the data."""

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", dist.Normal(0.0, 1.0))


class MeanModel(nn.Module):
    """x ~ N(μ, 1), and z ~ N(0, 1) apart from it: bound, gradient and optimum are known by hand."""

    def __init__(self, mean: float = 0.0) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor([mean]))

    def location(self) -> Tensor:
        return self.mean

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(self.location(), 1.0).to_event(1), obs=x)


def mean_pair(mean: float = 0.0) -> Pair:
    return Pair(MeanModel(mean), Blind())


def mean_bound(mean: float, x: Tensor) -> float:
    """The average of log N(x; μ, 1), in nats a datum."""
    return (-0.5 * (x - mean).square().mean() - 0.5 * math.log(2 * math.pi)).item()


def column(*values: float) -> Tensor:
    return torch.tensor(values)[:, None]


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def identical(a: Any, b: Any) -> bool:
    """Equal bit for bit, in nested dicts and lists."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    return a == b


def without_seconds(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]
