"""A prior in one file: independent Laplace distributions, heavier-tailed than the normal."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae import Prior


class LaplacePrior(Prior):
    """p(z) = ∏ Laplace(z_j; 0, 1/√2): unit variance, sparser latents than the standard normal.

    Args:
        latent_dim: the dimension n of z.
    """

    scale: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        # A buffer moves with the module between devices and dtypes; a parameter would be learned.
        self.register_buffer("scale", torch.full((latent_dim,), 0.5**0.5))

    def forward(self) -> Distribution:
        """Batch shape (), event shape (latent_dim,)."""
        return dist.Laplace(torch.zeros_like(self.scale), self.scale).to_event(1)
