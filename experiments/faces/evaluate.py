"""What is measured of one trained VAE, on held-out images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.faces.config import Config
from pyro_vae import VAE
from pyro_vae.data import Dataset
from pyro_vae.evaluation import (
    bits_per_dim,
    bound_terms,
    log_evidence,
    optimal_prior,
    reconstruction_error,
)

__all__ = ["PICTURES", "SIDE", "arrays", "measure"]

PICTURES, SIDE = 12, 6  # reconstructed, and generated a side
_AVERAGED = 5_000  # training images that the optimal prior is a mean over
_SEED = 0

Arrays = dict[str, NDArray[Any]]


def measure(vae: VAE, data: Dataset, config: Config) -> tuple[dict[str, Any], Arrays]:
    """Numbers in nats an image and bits a dimension, means over held-out images; the bound and the
    log evidence of each."""
    x = data.test.batch(slice(0, config.held_out))
    pair = (vae.model, vae.guide)
    terms = bound_terms(*pair, x, num_samples=config.elbo_samples, batch_size=100)
    evidence = log_evidence(*pair, x, num_samples=config.evidence_samples)
    best = optimal_prior(vae.guide, data.train.batch(slice(0, _AVERAGED)))
    numbers = {
        **terms.mean(),
        "bits_per_dim": bits_per_dim(terms.mean()["bound"], x.shape[1:]),
        "log_evidence": evidence.mean(),
        "log_evidence_error": evidence.mean_error(),
        "reconstruction_error": reconstruction_error(*pair, x, batch_size=100).mean().item(),
        "optimal_prior_trace": best.sum().item(),
    }
    each = {"each_bound": terms.bound, "each_evidence": evidence.value}
    return numbers, {name: value.cpu().numpy() for name, value in each.items()}


@torch.no_grad()
def arrays(vae: VAE, data: Dataset) -> Arrays:
    """Pictures: held-out images and what is made of them; images decoded at draws from N(0, I) and
    from the optimal prior (eq. 4), which are the same numbers but for their scale."""
    x = data.test.batch(slice(0, PICTURES))
    best = optimal_prior(vae.guide, data.train.batch(slice(0, _AVERAGED)))
    with torch.random.fork_rng([]):
        torch.manual_seed(_SEED)
        z = torch.randn(SIDE**2, len(best)).to(best)
    found = {
        "originals": x,
        "reconstructions": vae.reconstruct(x),
        "standard": vae.decode(z).unflatten(0, (SIDE, SIDE)),
        "optimal": vae.decode(best.sqrt() * z).unflatten(0, (SIDE, SIDE)),
    }
    return {name: value.cpu().numpy().astype(np.float32) for name, value in found.items()}
