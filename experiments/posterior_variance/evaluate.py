"""What is measured of one trained VAE, all on held-out data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.posterior_variance.config import Config
from pyro_vae import VAE
from pyro_vae.data import Dataset
from pyro_vae.evaluation import (
    active_units,
    bound_terms,
    grid_log_evidence,
    log_evidence,
    posterior_moments,
    reconstruction_error,
)
from pyro_vae.figures import inverse_cdf_grid

__all__ = ["arrays", "exact_evidence", "measure"]

_ON_A_GRID = 2  # latents
_GRID = 8  # generative samples a side
# Points of the latent manifold a side: pictures of few pixels need the room.
_MANIFOLD, _MANIFOLD_OF_SMALL, _SMALL = 20, 12, 16


def measure(vae: VAE, data: Dataset, config: Config) -> dict[str, Any]:
    """Numbers: the bound and its terms, the evidence, active units, the reconstruction's error.

    Means over the test set — of the evidence, which takes longest, over its beginning — in nats an
    image, under the prior with its variance from the training
    set.
    """
    x = data.test.draw()
    pair = (vae.model, vae.guide)
    few = x[: config.evidence_data]
    evidence = log_evidence(*pair, few, num_samples=config.evidence_samples)
    return {
        **bound_terms(*pair, x, num_samples=config.elbo_samples, batch_size=200).mean(),
        "log_evidence": evidence.mean(),
        "log_evidence_error": evidence.mean_error(),
        **exact_evidence(vae, few, config),
        "active_units": active_units(vae.guide, x, prior_variance=vae.prior().variance).count,
        "reconstruction_error": reconstruction_error(*pair, x).mean().item(),
        "prior_variance": vae.prior().variance.tolist(),
    }


def exact_evidence(vae: VAE, x: Tensor, config: Config) -> dict[str, float]:
    """log p(x) on a grid, which no posterior that an encoder misses escapes: of few latents."""
    if config.latent > _ON_A_GRID:
        return {}
    found = grid_log_evidence(vae.prior, vae.likelihood, x, cells=config.evidence_cells)
    return {
        "exact_log_evidence": found.mean(),
        "exact_log_evidence_error": found.mean_error(),
    }


@torch.no_grad()
def arrays(vae: VAE, data: Dataset, seed: int) -> dict[str, NDArray[Any]]:
    """What the figures need: latents of the test set, and pictures."""
    x = data.test.draw()
    mean, variance = posterior_moments(vae.guide, x)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        noise = torch.randn(mean.shape)
        generated = vae.generate(_GRID**2)
    found = {
        "mean": mean,
        "variance": variance,
        "z": mean + variance.sqrt() * noise.to(mean.device),
        "prior_variance": vae.prior().variance,
        "generated": _images(generated, data, _GRID, _GRID),
        "originals": _images(x[:10], data, 10),
        "reconstructions": _images(vae.reconstruct(x[:10]), data, 10),
    }
    if mean.shape[1] == 2:
        found["manifold"] = _manifold(vae, data)
    out = {name: value.cpu().numpy().astype(np.float32) for name, value in found.items()}
    if data.test.labels is not None:
        out["label"] = data.test.labels.cpu().numpy()
    return out


def _manifold(vae: VAE, data: Dataset) -> Tensor:
    """Decoded images over a grid of the prior's quantiles (Fyffe, figures 12 and 13)."""
    scale = vae.prior().stddev
    small = data.image_shape is not None and max(data.image_shape) <= _SMALL
    points = _MANIFOLD_OF_SMALL if small else _MANIFOLD
    grid = inverse_cdf_grid(points, scale.cpu().numpy())
    decoded = vae.decode(torch.as_tensor(grid, dtype=scale.dtype, device=scale.device))
    return _images(decoded, data, points, points)


def _images(x: Tensor, data: Dataset, *leading: int) -> Tensor:
    if data.image_shape is None:
        raise ValueError(f"{data.name}: expected images; got data of no image shape.")
    return x.reshape(*leading, *data.image_shape)
