"""A likelihood in one file: Laplace noise, whose −log p(x|z) is the absolute error."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae import Likelihood


class LaplaceLikelihood(Likelihood):
    """p(x|z) = ∏ Laplace(x_d; ν_d(z), b): the decoder gives the median ν, b is learned.

    Args:
        decoder: latents [..., latent] to medians [..., *event].
        scale: b at the start.
    """

    def __init__(self, decoder: nn.Module, scale: float = 1.0) -> None:
        super().__init__(decoder)
        # A constrained parameter is an unconstrained nn.Parameter and an explicit transform.
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, z: Tensor) -> Distribution:
        """Batch shape ``z.shape[:-1]``: z may be [batch, latent] or [particles, batch, latent]."""
        median = self.decoder(z)
        event_dim = median.dim() - (z.dim() - 1)
        return dist.Laplace(median, self.log_scale.exp()).to_event(event_dim)
