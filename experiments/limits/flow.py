"""A normalising flow, trained on a density by maximum likelihood."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from pyro.distributions.torch_transform import ComposeTransformModule
from pyro.nn import DenseNN
from torch import Tensor, nn

from experiments.limits.config import Config
from pyro_vae import History, Pair, adam, cosine_decay, fit
from pyro_vae.data.densities import Density

__all__ = ["negative_log_likelihood", "train_flow"]

_BATCH, _RATE = 500, 2e-3
_EPOCHS = 20  # at most: a checkpoint after each


class _Model(nn.Module):
    """x = f(z), z ~ N(0, I): a Pyro program with no latent site, since f is invertible."""

    def __init__(self, flow: ComposeTransformModule) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", _distribution(self.flow, x), obs=x)


class _Guide(nn.Module):
    """Nothing to infer."""

    def forward(self, x: Tensor) -> None:
        pass


def train_flow(
    config: Config, density: Density, checkpoints: Path, progress: bool
) -> tuple[ComposeTransformModule, History]:
    """Train, or go on training, affine couplings of tanh networks: where f has kinks, the ELBO
    tends to the limit slower. With no latents the ELBO is the log-likelihood."""
    flow = _flow(config)
    epochs = math.gcd(config.flow_steps, _EPOCHS)
    history = fit(
        Pair(_Model(flow), _Guide()),
        density.stream(_BATCH * config.flow_steps // epochs),
        epochs=epochs,
        batch_size=_BATCH,
        optimizer=adam(_RATE),
        schedule=cosine_decay(),
        checkpoints=checkpoints,
        device=config.device,
        progress=progress,
    )
    return flow.requires_grad_(False), history


def negative_log_likelihood(flow: ComposeTransformModule, x: Tensor) -> Tensor:
    """−log p(x) of the flow, [points], nats."""
    return -_distribution(flow, x).log_prob(x)


def _flow(config: Config) -> ComposeTransformModule:
    parts: list[Any] = []
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        for _ in range(config.couplings):
            network = DenseNN(1, [config.width] * 2, param_dims=[1, 1], nonlinearity=nn.Tanh())
            swap = transforms.Permute(torch.tensor([1, 0]))
            parts += [transforms.AffineCoupling(1, network), swap]
    return ComposeTransformModule(parts)


def _distribution(flow: ComposeTransformModule, x: Tensor) -> dist.TransformedDistribution:
    base = dist.Normal(x.new_zeros(2), x.new_ones(2)).to_event(1)
    return dist.TransformedDistribution(base, [flow])
