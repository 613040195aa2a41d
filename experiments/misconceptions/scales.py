"""Section 5.1: the squared error is no reconstruction loss; its logarithm is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from experiments.misconceptions.config import Config
from pyro_vae import (
    ELBO,
    VAE,
    FixedVariance,
    NormalGuide,
    NormalLikelihood,
    OptimalVariance,
    StandardNormalPrior,
    Variance,
    fit,
)
from pyro_vae.data import Dataset
from pyro_vae.evaluation import active_units, bits_per_dim, bound_terms, reconstruction_error
from pyro_vae.nn import MLP, Scale

__all__ = ["LOSSES", "measure_scale"]

LOSSES: dict[str, type[Variance]] = {"MSE": FixedVariance, "log MSE": OptimalVariance}
"""By the name of the loss: the variance of the normal likelihood that makes it one."""

_IMAGES = 10


def measure_scale(
    config: Config,
    images: Dataset,
    loss: str,
    scale: float,
    checkpoints: Path,
    progress: bool,
) -> tuple[dict[str, Any], dict[str, NDArray[Any]], VAE]:
    """Train on images times ``scale`` and measure on held-out ones: numbers, and pictures in the
    unit of the unscaled images."""
    data = _scaled(images, scale)
    vae = _build(config, loss, scale, data.train.event_shape[0])
    history = fit(
        vae,
        data.train,
        objective=ELBO(analytic_kl=True),
        epochs=config.epochs,
        batch_size=config.batch_size,
        checkpoints=checkpoints,
        device=config.device,
        progress=progress,
    )
    x = data.test.draw().to(config.device)
    terms = bound_terms(vae.model, vae.guide, x, num_samples=20).mean()
    error = reconstruction_error(vae.model, vae.guide, x).mean().item()
    # A density of λx is that of x divided by λ for each dimension.
    bits = bits_per_dim(terms["bound"] + len(x[0]) * math.log(scale), tuple(x.shape[1:]))
    found = {
        "kl": terms["kl"],
        "bits_per_dim": bits,
        "relative_error": error / x.var(0).mean().item(),
        "active_units": active_units(vae.guide, x).count,
        "training_seconds": sum(history["seconds"]),
    }
    some = x[:_IMAGES]
    pictures = {
        "originals": some / scale,
        "reconstructions": vae.reconstruct(some) / scale,
    }
    shape = data.image_shape
    assert shape is not None
    arrays = {
        name: value.cpu().numpy().astype(np.float32).reshape(-1, *shape)
        for name, value in pictures.items()
    }
    return found, arrays, vae


def _build(config: Config, loss: str, scale: float, pixels: int) -> VAE:
    # With σ² = ½ the negative log-likelihood is the squared error plus a constant (eq. 42); with
    # σ² = MSE it is its logarithm (eq. 43).
    variance = FixedVariance(0.5) if loss == "MSE" else LOSSES[loss]()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        encoder = MLP(pixels, config.hidden, 2 * config.latent)
        decoder = MLP(config.latent, config.hidden, pixels)
        # The networks have the images in their own unit: what differs is the loss alone.
        return VAE(
            prior=StandardNormalPrior(config.latent),
            likelihood=NormalLikelihood(nn.Sequential(decoder, Scale(scale)), variance),
            guide=NormalGuide(nn.Sequential(Scale(1 / scale), encoder)),
        )


def _scaled(data: Dataset, scale: float) -> Dataset:
    return replace(
        data,
        train=replace(data.train, values=data.train.values * scale),
        test=replace(data.test, values=data.test.values * scale),
    )
