from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae.priors._prior import Prior

__all__ = ["StandardNormalPrior"]


class StandardNormalPrior(Prior):
    """p(z) = N(0, I): the prior of Kingma and Welling (2014).

    Args:
        latent_dim: the dimension n of z.

    >>> StandardNormalPrior(2)().log_prob(torch.zeros(2))  # −log 2π nats
    tensor(-1.8379)
    """

    zero: Tensor
    one: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        # Buffers, so that the prior moves between devices; not state, so no checkpoint holds them.
        self.register_buffer("zero", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("one", torch.ones(latent_dim), persistent=False)

    def forward(self) -> Distribution:
        return dist.Normal(self.zero, self.one).to_event(1)
