"""The methods: learned posterior variances with the ELBO, constant ones with the BILBO."""

from __future__ import annotations

import torch
from torch import Size

from experiments.faces.networks import decoder, encoder
from pyro_vae import (
    BILBO,
    ELBO,
    VAE,
    ConstantNormalGuide,
    FloatingPrior,
    LearnedVariance,
    NormalGuide,
    NormalLikelihood,
    Objective,
    StandardNormalPrior,
)

__all__ = ["BASELINE", "METHODS", "build"]

BASELINE = "ELBO, learned Σ"
METHODS: dict[str, float | None] = {BASELINE: None, "BILBO, Σ = I": 1.0, "BILBO, Σ = I/100": 0.1}
"""By name: σ of every posterior, ``None`` where it is learned."""

_STEP = 1 / 255  # of a byte: a variance below its square would model the rounding


def build(
    method: str, shape: Size, width: int, latent: int, seed: int = 0
) -> tuple[VAE, Objective]:
    """The VAE, initialised from one seed, the decoder first and alike for all methods, and its
    objective. Each pixel and channel has a learned variance, the same for all images.

    Args:
        method: its name.
        shape: of an image: channels, rows, columns.
        width: channels of the outer convolutions.
        latent: dimensions of z.
    """
    deviation = METHODS[method]
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        likelihood = NormalLikelihood(
            decoder(shape, width, latent),
            LearnedVariance(tuple(shape), initial=0.05, least=_STEP**2),
        )
        network = encoder(shape, width, latent, 2 * latent if deviation is None else latent)
    if deviation is None:
        prior = StandardNormalPrior(latent)
        vae = VAE(prior=prior, likelihood=likelihood, guide=NormalGuide(network))
        return vae, ELBO(analytic_kl=True)
    guide = ConstantNormalGuide(network, deviation)
    return VAE(prior=FloatingPrior(latent), likelihood=likelihood, guide=guide), BILBO()
