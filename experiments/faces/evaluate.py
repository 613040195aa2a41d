"""What is measured of one trained VAE, on held-out images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.faces.config import Config
from experiments.nearest import nearest
from pyro_vae import VAE
from pyro_vae.data import Dataset
from pyro_vae.evaluation import (
    bits_per_dim,
    bound_terms,
    log_evidence,
    optimal_prior,
    reconstruction_error,
)

__all__ = ["DRAWS", "PICTURES", "SIDE", "USUAL", "arrays", "measure"]

PICTURES, SIDE = 12, 6  # reconstructed, and generated a side
DRAWS, USUAL = 1_000, 0.99  # held against real images; the share of those that limits distances
_KNOWN = 5_000  # training images: of the optimal prior's mean, and that distances are to
_AT_ONCE = 100
_SEED = 0

Arrays = dict[str, NDArray[Any]]


def measure(vae: VAE, data: Dataset, config: Config) -> tuple[dict[str, Any], Arrays]:
    """Numbers in nats an image and bits a dimension, means over held-out images; the bound and the
    log evidence of each."""
    x = data.test.batch(slice(0, config.held_out))
    pair = (vae.model, vae.guide)
    terms = bound_terms(*pair, x, num_samples=config.elbo_samples, batch_size=100)
    evidence = log_evidence(*pair, x, num_samples=config.evidence_samples)
    numbers = {
        **terms.mean(),
        "bits_per_dim": bits_per_dim(terms.mean()["bound"], x.shape[1:]),
        "log_evidence": evidence.mean(),
        "log_evidence_error": evidence.mean_error(),
        "reconstruction_error": reconstruction_error(*pair, x, batch_size=100).mean().item(),
        "optimal_prior_trace": _optimal_prior(vae, data).sum().item(),
        **_distances(vae, data, x),
    }
    each = {"each_bound": terms.bound, "each_evidence": evidence.value}
    return numbers, {name: value.cpu().numpy() for name, value in each.items()}


@torch.no_grad()
def _distances(vae: VAE, data: Dataset, x: Tensor) -> dict[str, Any]:
    """The mean squared distance, a pixel, of held-out images to the nearest training image; and by
    prior, of decoded draws to it, the share of them that is farther from it than most held-out
    images are, and the distance of held-out images to the nearest draw."""
    known = data.train.batch(slice(0, _KNOWN))
    real = nearest(x, known)
    found = {}
    for prior, images in _decoded(vae, data, DRAWS).items():
        distance = nearest(images, known)
        found[prior] = {
            "to_data": distance.mean().item(),
            "unusual": (distance > real.quantile(USUAL)).double().mean().item(),
            "from_data": nearest(x, images).mean().item(),
        }
    return {"real_to_data": real.mean().item(), "samples": found}


@torch.no_grad()
def arrays(vae: VAE, data: Dataset) -> Arrays:
    """Pictures: held-out images and what is made of them; images decoded at draws from the
    priors."""
    x = data.test.batch(slice(0, PICTURES))
    samples = _decoded(vae, data, SIDE**2)
    found = {
        "originals": x,
        "reconstructions": vae.reconstruct(x),
        **{prior: images.unflatten(0, (SIDE, SIDE)) for prior, images in samples.items()},
    }
    return {name: value.cpu().numpy().astype(np.float32) for name, value in found.items()}


def _decoded(vae: VAE, data: Dataset, count: int) -> dict[str, Tensor]:
    """Images decoded at draws from N(0, I) and from the optimal prior (eq. 4), which are the same
    numbers but for their scale."""
    best = _optimal_prior(vae, data)
    with torch.random.fork_rng([]):
        torch.manual_seed(_SEED)
        z = torch.randn(count, len(best)).to(best)
    drawn = {"standard": z, "optimal": best.sqrt() * z}
    return {
        prior: torch.cat([vae.decode(some) for some in latents.split(_AT_ONCE)])
        for prior, latents in drawn.items()
    }


def _optimal_prior(vae: VAE, data: Dataset) -> Tensor:
    """S², [latent]."""
    return optimal_prior(vae.guide, data.train.batch(slice(0, _KNOWN)))
