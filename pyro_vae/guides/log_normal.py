from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae.guides._factorised import FactorisedGuide
from pyro_vae.guides._guide import Capabilities

__all__ = ["LogNormalGuide"]


class LogNormalGuide(FactorisedGuide):
    """q(z_j|x) = LogNormal(μ_j(x), σ_j(x)): z > 0, the exponential of a normal sample.

    For models whose latents are positive, with a prior on the positive numbers.

    Args:
        encoder: data [batch, *event] to [batch, 2·latent]: the mean of log z, and its standard
            deviation before a softplus.

    Raises:
        ShapeError: for an odd number of encoder outputs.

    >>> import torch
    >>> LogNormalGuide(torch.nn.Linear(4, 2 * 3)).posterior(torch.zeros(5, 4)).event_shape
    torch.Size([3])
    """

    capabilities = Capabilities()

    def family(self, mean: Tensor, raw_scale: Tensor) -> Distribution:
        return dist.LogNormal(mean, softplus(raw_scale))
