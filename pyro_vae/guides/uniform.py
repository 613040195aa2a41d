from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae.guides._factorised import FactorisedGuide
from pyro_vae.guides._guide import Capabilities

__all__ = ["UniformGuide"]


class UniformGuide(FactorisedGuide):
    """q(z_j|x) = Uniform(μ_j(x) − s_j(x), μ_j(x) + s_j(x)): a location-scale family, no tails.

    Importance weights miss what the true posterior has outside the interval: an estimate of
    log p(x) from this guide stays below it however many samples are drawn.

    Args:
        encoder: data [batch, *event] to [batch, 2·latent]: μ, and s before a softplus.

    Raises:
        ShapeError: for an odd number of encoder outputs.

    >>> import torch
    >>> UniformGuide(torch.nn.Linear(4, 2 * 3)).posterior(torch.zeros(5, 4)).event_shape
    torch.Size([3])
    """

    capabilities = Capabilities(closed_form_kl=True)

    def family(self, location: Tensor, raw_scale: Tensor) -> Distribution:
        half = softplus(raw_scale)
        return dist.Uniform(location - half, location + half)
