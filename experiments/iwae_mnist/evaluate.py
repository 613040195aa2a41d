"""What is measured of one trained VAE, on held-out images binarised once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.iwae_mnist.config import Config
from pyro_vae import IWAE, VAE, DReG
from pyro_vae.data import Dataset
from pyro_vae.evaluation import active_units, bound_terms, gradient_snr, log_evidence

__all__ = ["PARTICLES", "measure", "signal_to_noise_of"]

PARTICLES = (1, 4, 16, 64)
_SEED = 1_000_003  # of the test images' binarisation
_PROGRAMS = {"encoder": "guide.", "decoder": "model."}


def measure(vae: VAE, data: Dataset, config: Config) -> dict[str, Any]:
    """Numbers in nats an image: the negative log-likelihood with its Monte-Carlo error, the ELBO
    and its KL; and how many latent dimensions are active."""
    with torch.random.fork_rng([]):
        torch.manual_seed(_SEED)
        x = data.test.draw()
    evidence = log_evidence(vae.model, vae.guide, x, num_samples=config.evidence_samples)
    terms = bound_terms(vae.model, vae.guide, x, num_samples=5).mean()
    return {
        "nll": -evidence.mean(),
        "nll_error": evidence.mean_error(),
        "elbo": terms["bound"],
        "kl": terms["kl"],
        "active_units": active_units(vae.guide, x).count,
    }


def signal_to_noise_of(vae: VAE, data: Dataset, config: Config) -> dict[str, NDArray[Any]]:
    """The median ratio over parameters at each number of particles, by estimator and network, on
    one batch of training images."""
    with torch.random.fork_rng([]):
        torch.manual_seed(_SEED)
        x = data.train.batch(slice(0, config.batch_size))
    found: dict[str, list[float]] = {}
    for kind in (IWAE, DReG):
        for k in PARTICLES:
            moments = gradient_snr(kind(k), vae.model, vae.guide, x, num_gradients=config.gradients)
            for network, prefix in _PROGRAMS.items():
                ratio = moments.ratio(prefix).median().item()
                found.setdefault(f"{kind.__name__} {network}", []).append(ratio)
    return {name: np.array(values) for name, values in found.items()}
