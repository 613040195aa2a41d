"""Section 5.1: the squared error is no reconstruction loss; its logarithm is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
    update_statistics,
)
from pyro_vae.data import Dataset, Examples
from pyro_vae.evaluation import active_units, bits_per_dim, bound_terms, reconstruction_error
from pyro_vae.nn import MLP, Scale

__all__ = [
    "FIXED",
    "LOSSES",
    "as_fraction",
    "build",
    "measure_scale",
    "measures",
    "scaled",
    "sharpness",
]

FIXED = 0.5
"""σ² of the normal whose negative log-likelihood is the squared error plus a constant (eq. 42)."""
LOSSES: dict[str, Callable[[], Variance]] = {
    "MSE": partial(FixedVariance, FIXED),
    "log MSE": OptimalVariance,  # σ² = MSE makes it the logarithm (eq. 43)
}
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
    data = scaled(images, scale)
    vae = build(config, loss, scale, data.train.event_shape[0])
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
    found, arrays = measures(vae, data.to(config.device), scale)
    return found | {"training_seconds": sum(history["seconds"])}, arrays, vae


def measures(
    vae: VAE, data: Dataset, scale: float
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Of a trained VAE and the images it was trained for: numbers, and pictures in the unit of the
    unscaled images."""
    x, shape = data.test.draw(), data.image_shape
    assert shape is not None
    images, reconstructions = x.reshape(-1, *shape), vae.reconstruct(x).reshape(-1, *shape)
    refitted = _refitted(vae, data.train)
    terms, of_refitted = (_terms(one, x) for one in (vae, refitted))
    error = reconstruction_error(vae.model, vae.guide, x).mean().item()
    found = {
        "kl": terms["kl"],
        "bits_per_dim": _in_own_unit(terms["bound"], x, scale),
        "refitted_bits_per_dim": _in_own_unit(of_refitted["bound"], x, scale),
        "refitted_variance": _variance(refitted) / scale**2,
        "relative_error": error / x.var(0).mean().item(),
        "sharpness": sharpness(reconstructions, images),
        "active_units": active_units(vae.guide, x).count,
    }
    pictures = {"originals": images[:_IMAGES], "reconstructions": reconstructions[:_IMAGES]}
    arrays = {
        name: (value / scale).cpu().numpy().astype(np.float32) for name, value in pictures.items()
    }
    return found, arrays


def sharpness(reconstructions: Tensor, images: Tensor) -> float:
    """The mean squared difference of neighbouring pixels, as a share of the images', [N, H, W].

    Squares, since blur takes large differences away; faint noise, which adds small ones in the
    dark, would make up for it in a mean of absolute values.

    >>> edge = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
    >>> round(sharpness(torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]), edge), 3)
    0.375
    """
    return _difference_energy(reconstructions) / _difference_energy(images)


def _difference_energy(images: Tensor) -> float:
    pairs = [images.diff(dim=dim).flatten() for dim in (-1, -2)]
    return torch.cat(pairs).square().mean().item()


def as_fraction(scale: float) -> str:
    """A scale as reports and figures write it.

    >>> as_fraction(0.0625), as_fraction(4.0)
    ('1/16', '4')
    """
    return str(Fraction(scale).limit_denominator(1000))


def _terms(vae: VAE, x: Tensor) -> dict[str, float]:
    return bound_terms(vae.model, vae.guide, x, num_samples=20).mean()


def _in_own_unit(bound: float, x: Tensor, scale: float) -> float:
    """bits/dim of the images as they were: a density of λx is that of x divided by λ for each
    dimension."""
    return bits_per_dim(bound + len(x[0]) * math.log(scale), tuple(x.shape[1:]))


def _refitted(vae: VAE, train: Examples) -> VAE:
    """The same VAE, but for σ²: now the one that is best for it on the training set."""
    likelihood = NormalLikelihood(vae.likelihood.decoder, OptimalVariance().to(train.device))
    refitted = VAE(prior=vae.prior, likelihood=likelihood, guide=vae.guide).eval()
    update_statistics(refitted.model, refitted.guide, train.draw())
    return refitted


def _variance(vae: VAE) -> float:
    likelihood = vae.likelihood
    assert isinstance(likelihood, NormalLikelihood)
    return likelihood.variance().item()


def build(config: Config, loss: str, scale: float, pixels: int) -> VAE:
    """The VAE of a loss and a scale, as it is before training."""
    variance = LOSSES[loss]()
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


def scaled(data: Dataset, scale: float) -> Dataset:
    """Images times ``scale``."""
    return replace(
        data,
        train=replace(data.train, values=data.train.values * scale),
        test=replace(data.test, values=data.test.values * scale),
    )
