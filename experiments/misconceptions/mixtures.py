"""Section 5.2: a latent describes a datum, not the distribution; two dimensions do for any number
of normals on the plane."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.misconceptions.config import Config
from experiments.networks import dense_block
from pyro_vae import (
    IWAE,
    VAE,
    DecodedVariance,
    NormalGuide,
    NormalLikelihood,
    StandardNormalPrior,
    adam,
    cosine_decay,
    fit,
)
from pyro_vae.data.densities import GaussianRing
from pyro_vae.evaluation import log_evidence
from pyro_vae.nn import Scale

__all__ = ["CONTROL", "MIXTURES", "measure_mixture"]

CONTROL = "mixture, twice the steps"
"""To tell what training leaves from what two latents leave."""
MIXTURES = {"mixture": 1, CONTROL: 2}
"""Times as many steps as the settings say."""

_LATENT, _BATCH, _PARTICLES = 2, 200, 10
_EPOCHS = 20  # at most: a checkpoint after each
_UNIT = 4.0  # points on the ring times this have a variance of one


def measure_mixture(
    config: Config, name: str, components: int, checkpoints: Path, progress: bool
) -> tuple[dict[str, Any], VAE]:
    """Train a VAE with two latents on a mixture, and measure its gap to the entropy, in bits."""
    density = GaussianRing(components)
    vae = _build(config)
    steps = MIXTURES[name] * config.steps
    epochs = math.gcd(steps, _EPOCHS)  # of equally many steps each: exactly those asked for
    history = fit(
        vae,
        density.stream(_BATCH * steps // epochs),
        objective=IWAE(_PARTICLES),
        epochs=epochs,
        batch_size=_BATCH,
        optimizer=adam(1e-3),
        schedule=cosine_decay(),
        checkpoints=checkpoints,
        device=config.device,
        progress=progress,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(1_000_003)
        x = density.sample(config.points, device=config.device)
    evidence = log_evidence(vae.model, vae.guide, x, num_samples=config.evidence_samples)
    gap = density.log_prob(x.double()) - evidence.value
    found = {
        "entropy": density.entropy / math.log(2),
        "gap": gap.mean().item() / math.log(2),
        "gap_error": gap.std().item() / math.sqrt(len(x)) / math.log(2),
        "training_seconds": sum(history["seconds"]),
    }
    return found, vae


def _build(config: Config) -> VAE:
    def network(inputs: int, outputs: int) -> nn.Module:
        return dense_block(inputs, growth=config.growth, depth=4, out_features=outputs)

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return VAE(
            prior=StandardNormalPrior(_LATENT),
            likelihood=NormalLikelihood(network(_LATENT, 4), DecodedVariance()),
            guide=NormalGuide(nn.Sequential(Scale(_UNIT), network(2, 2 * _LATENT))),
        )
