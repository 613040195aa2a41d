"""The three methods of Fyffe's figure 4, each a VAE and its objective."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pyro_vae import (
    BILBO,
    ELBO,
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    FloatingPrior,
    FloatingPriorELBO,
    NormalGuide,
    Objective,
    StandardNormalPrior,
)
from pyro_vae.nn import MLP

__all__ = ["BASELINE", "METHODS", "build"]


def learned(decoder: MLP, encoder: Callable[[int], MLP], latent: int) -> tuple[VAE, Objective]:
    """“Learned Σ”: eq. 1, a mean and a variance from the encoder, prior N(0, I)."""
    vae = VAE(
        prior=StandardNormalPrior(latent),
        likelihood=BernoulliLikelihood(decoder),
        guide=NormalGuide(encoder(2 * latent)),
    )
    return vae, ELBO(analytic_kl=True)


def constant(decoder: MLP, encoder: Callable[[int], MLP], latent: int) -> tuple[VAE, Objective]:
    """“Constant Σ”: eq. 2 with Σ = I and the floating prior of eq. 4."""
    vae = VAE(
        prior=FloatingPrior(latent),
        likelihood=BernoulliLikelihood(decoder),
        guide=ConstantNormalGuide(encoder(latent)),
    )
    return vae, FloatingPriorELBO()


def bilbo(decoder: MLP, encoder: Callable[[int], MLP], latent: int) -> tuple[VAE, Objective]:
    """“BILBO”: eq. 24 with Σ = I and the floating prior of eq. 4."""
    vae, _ = constant(decoder, encoder, latent)
    return vae, BILBO()


BASELINE = "Learned Σ"
METHODS = {BASELINE: learned, "Constant Σ": constant, "BILBO": bilbo}


def build(
    method: str, seed: int, data_dim: int, hidden: tuple[int, ...], latent: int
) -> tuple[VAE, Objective]:
    """A method's VAE, initialised from ``seed``, and its objective.

    The decoder is drawn first, so that all methods start from the same one. The encoders of methods
    with as many outputs are the same too; one with more outputs is another draw throughout.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        decoder = MLP(latent, hidden, data_dim)
        return METHODS[method](decoder, lambda outputs: MLP(data_dim, hidden, outputs), latent)
