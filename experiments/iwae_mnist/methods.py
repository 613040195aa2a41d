"""The methods: one VAE, and objectives that differ in bound and gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_vae import (
    ELBO,
    IWAE,
    VAE,
    BernoulliLikelihood,
    DReG,
    NormalGuide,
    Objective,
    StandardNormalPrior,
)
from pyro_vae.nn import MLP

__all__ = ["METHODS", "PAPER", "build"]

METHODS: dict[str, Objective] = {
    "VAE-1": ELBO(1),
    "VAE-5": ELBO(5),
    "VAE-50": ELBO(50),
    "IWAE-5": IWAE(5),
    "IWAE-50": IWAE(50),
    "DReG-5": DReG(5),
    "DReG-50": DReG(50),
}
"""By name: the objective. IWAE-1 is VAE-1."""

PAPER: dict[str, tuple[float, int | None]] = {
    "VAE-1": (86.76, 19),
    "VAE-5": (86.47, None),
    "VAE-50": (86.35, None),
    "IWAE-5": (85.54, 22),
    "IWAE-50": (84.78, 25),
}
"""Burda et al., table 1, one stochastic layer, after 3,280 epochs: negative log-likelihood in nats,
and active units where they are known to us."""


def build(
    method: str, seed: int, mean: Tensor, hidden: tuple[int, ...], latent: int
) -> tuple[VAE, Objective]:
    """The VAE, initialised from ``seed`` alike for all methods, and the method's objective.

    Args:
        method: its name.
        seed: of the weights.
        mean: of the training images, [pixels], where the decoder's outputs start.
        hidden, latent: the networks' layers, and z.
    """
    pixels = len(mean)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        decoder = MLP(latent, hidden, pixels, activation=nn.Tanh)
        encoder = MLP(pixels, hidden, 2 * latent, activation=nn.Tanh)
    last = decoder.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias.copy_(torch.logit(mean.cpu().clamp(1e-3, 1 - 1e-3)))
    vae = VAE(
        prior=StandardNormalPrior(latent),
        likelihood=BernoulliLikelihood(decoder),
        guide=NormalGuide(encoder),
    )
    return vae, METHODS[method]
