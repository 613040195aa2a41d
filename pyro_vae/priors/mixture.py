from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import Distribution

from pyro_vae.priors._prior import Prior

__all__ = ["MixturePrior"]


class MixturePrior(Prior):
    """p(z) = Σ_k π_k N(z; m_k, diag s_k²): a mixture of normals, all of it learned.

    Starts as equal weights, unit variances and means drawn from N(0, I). Source: Dilokthanakul et
    al. (2016) for the mixture as a prior.

    Args:
        latent_dim: the dimension n of z.
        num_components: how many k.

    Raises:
        ValueError: for fewer than one component.

    >>> MixturePrior(2, num_components=10)().log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """

    def __init__(self, latent_dim: int, num_components: int) -> None:
        super().__init__(latent_dim)
        if num_components < 1:
            raise ValueError(f"num_components: expected ≥ 1; got {num_components}.")
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.mean = nn.Parameter(torch.randn(num_components, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(num_components, latent_dim))

    def forward(self) -> Distribution:
        components = dist.Normal(self.mean, self.log_scale.exp()).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), components)
