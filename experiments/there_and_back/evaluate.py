"""What is measured of one trained variant, on held-out data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.nearest import nearest
from experiments.there_and_back.config import Config
from experiments.there_and_back.variants import Variant
from pyro_vae import VAE, NormalLikelihood
from pyro_vae.data import Dataset
from pyro_vae.evaluation import (
    bits_per_dim,
    bound_terms,
    log_evidence,
    optimal_prior,
    posterior_moments,
)
from pyro_vae.figures import inverse_cdf_grid

__all__ = ["arrays", "measure"]

_SAMPLES = 1_000  # generated, for their distance to the data
_SIDE, _MANIFOLD = 4, 15  # pictures a side: samples, and over the prior's quantiles
_REFERENCE = 5_000  # test images that samples are held against


def measure(vae: VAE, variant: Variant, data: Dataset, config: Config) -> dict[str, Any]:
    """Numbers, in nats a datum and bits a dimension of the data in their own unit: what a scale λ
    does to a density, −m log λ, is taken back. And, where it is a density, log p(x), and how far
    generated data are from real ones."""
    x = data.test.draw()
    size = x[0].numel()
    shift = size * math.log(variant.scale)
    terms = bound_terms(vae.model, vae.guide, x, num_samples=config.elbo_samples, batch_size=200)
    bound = terms.mean()["bound"] + shift
    numbers: dict[str, Any] = {
        "bound": bound,
        "kl": terms.mean()["kl"],
        "bits_per_dim": bits_per_dim(bound, (size,)),
    }
    if variant.likelihood == "Bernoulli":
        return numbers
    few = x[: config.checked]
    evidence = log_evidence(vae.model, vae.guide, few, num_samples=config.evidence_samples)
    return numbers | {
        "log_evidence": evidence.mean() + shift,
        "log_evidence_error": evidence.mean_error(),
        **_variance(vae, variant),
        **_balance(vae, variant, x, terms.mean()),
        **_distances(vae, variant, x / variant.scale),
    }


def _variance(vae: VAE, variant: Variant) -> dict[str, float]:
    """σ² of the likelihood in the data's own unit, where there is one for all."""
    variance = getattr(vae.likelihood, "variance", None)
    if variance is None or variant.likelihood == "learned T":
        return {}
    return {"variance": variance().mean().item() / variant.scale**2}


def _balance(vae: VAE, variant: Variant, x: Tensor, terms: Mapping[str, float]) -> dict[str, float]:
    """Of BAGGINS: both sides of eq. 28, means over the data that are given, and eq. 30's bound by
    their moments and the training set's σ²."""
    if not isinstance(vae.likelihood, NormalLikelihood) or variant.likelihood != "BAGGINS":
        return {}
    _, sigma = posterior_moments(vae.guide, x)
    scaled = optimal_prior(vae.guide, x) / sigma.mean(0)  # I + Σ⁻¹M_B
    log_volume = x[0].numel() * math.log(2 * math.pi * vae.likelihood.variance().item())
    observed = -2 * terms["reconstruction"] - log_volume  # E|x − ν(z)|²/σ²
    information = scaled.sum().item()
    bound = -0.5 * (scaled.log().sum().item() + information / variant.tau + log_volume)
    return {
        "information": information,
        "observed": variant.tau * observed,
        "bound_by_moments": bound + x[0].numel() * math.log(variant.scale),
    }


def _distances(vae: VAE, variant: Variant, x: Tensor) -> dict[str, float]:
    """The mean squared distance, a dimension, of generated data to the nearest real ones, and of
    real ones to the nearest generated: blurred or broken samples fail the first, few kinds of
    samples the second."""
    with torch.random.fork_rng([]):
        torch.manual_seed(variant.seed)
        generated = vae.generate(_SAMPLES) / variant.scale
    real = x[:_REFERENCE]
    return {
        "to_data": nearest(generated, real).mean().item(),
        "from_data": nearest(real, generated).mean().item(),
    }


@torch.no_grad()
def arrays(vae: VAE, variant: Variant, data: Dataset) -> dict[str, NDArray[Any]]:
    """For the figures of images, in their own unit: pictures of samples, and of two latents their
    scatter and what they decode to over the prior's quantiles."""

    def pictures(x: Tensor, side: int) -> Tensor:
        return (x / variant.scale).reshape(side, side, *(data.image_shape or ()))

    with torch.random.fork_rng([]):
        torch.manual_seed(variant.seed)
        found = {}
        if data.image_shape is not None:
            found["generated"] = pictures(vae.generate(_SIDE**2), _SIDE)
        if variant.latent == 2 and data.image_shape is not None:
            mean, spread = posterior_moments(vae.guide, data.test.draw())
            found |= {"mean": mean, "z": mean + spread.sqrt() * torch.randn_like(mean)}
            scale = vae.prior().stddev
            grid = torch.as_tensor(inverse_cdf_grid(_MANIFOLD, scale.cpu().numpy())).to(scale)
            found["manifold"] = pictures(vae.decode(grid), _MANIFOLD)
    out = {name: value.cpu().numpy().astype(np.float32) for name, value in found.items()}
    if data.test.labels is not None:
        out["label"] = data.test.labels.cpu().numpy()
    return out
