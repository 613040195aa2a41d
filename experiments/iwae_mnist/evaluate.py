"""What is measured of one trained VAE, on held-out images binarised once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.iwae_mnist.config import Config
from pyro_vae import IWAE, VAE, DReG
from pyro_vae.data import Dataset
from pyro_vae.evaluation import active_units, bound_terms, gradient_snr, log_evidence
from pyro_vae.testing import linear_gaussian

__all__ = ["KINDS", "PARTICLES", "measure", "signal_to_noise_of"]

PARTICLES = (1, 4, 16, 64)
KINDS = {"IWAE": IWAE, "DReG": DReG}
_SEED = 1_000_003  # of the test images' binarisation
_PROGRAMS = {"encoder": "guide.", "decoder": "model."}

Arrays = dict[str, NDArray[Any]]


def measure(vae: VAE, data: Dataset, config: Config) -> tuple[dict[str, Any], Arrays]:
    """Numbers in nats an image: the negative log-likelihood with its Monte-Carlo error, the ELBO
    and its KL; how many latent dimensions are active; and the log-likelihood of each image."""
    with torch.random.fork_rng([]):
        torch.manual_seed(_SEED)
        x = data.test.draw()
    evidence = log_evidence(vae.model, vae.guide, x, num_samples=config.evidence_samples)
    terms = bound_terms(vae.model, vae.guide, x, num_samples=5).mean()
    numbers = {
        "nll": -evidence.mean(),
        "nll_error": evidence.mean_error(),
        "elbo": terms["bound"],
        "kl": terms["kl"],
        "active_units": active_units(vae.guide, x).count,
    }
    return numbers, {"evidence": evidence.value.cpu().numpy()}


def signal_to_noise_of(vae: VAE, data: Dataset, config: Config) -> Arrays:
    """The median ratio over parameters at each number of particles, by estimator and network, on
    one batch of training images; and the encoder's of a linear pair, whose guide is near enough to
    the posterior for what theory says of many particles to have begun."""
    with torch.random.fork_rng([]):
        torch.manual_seed(_SEED)
        x = data.train.batch(slice(0, config.batch_size))
    found = {
        f"{kind} {network}": ratios
        for kind in KINDS
        for network, ratios in _ratios(kind, vae, x, config.gradients).items()
    }
    pair, x = _linear_pair()
    for kind in KINDS:
        found[f"{kind} linear"] = _ratios(kind, pair, x, config.gradients)["encoder"]
    return found


def _ratios(kind: str, vae: VAE, x: Tensor, gradients: int) -> Arrays:
    """By network: the median ratio at each number of particles."""
    found: dict[str, list[float]] = {network: [] for network in _PROGRAMS}
    for k in PARTICLES:
        objective = KINDS[kind](k)
        moments = gradient_snr(objective, vae.model, vae.guide, x, num_gradients=gradients)
        for network, prefix in _PROGRAMS.items():
            found[network].append(moments.ratio(prefix).median().item())
    return {network: np.array(ratios) for network, ratios in found.items()}


def _linear_pair() -> tuple[VAE, Tensor]:
    """A linear VAE whose guide is wider than the posterior, so that weights are bounded, and off
    its mean; and eight copies of a datum."""
    pair = linear_gaussian(orthogonal=False, dtype=torch.float64)
    encoder: Any = pair.guide.encoder
    noise = torch.randn(encoder.weight.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        encoder.weight += 0.1 * noise
        encoder.bias[len(encoder.bias) // 2 :] += 0.6  # the scales, before a softplus
    return pair, pair.x[:1].repeat(8, 1)
