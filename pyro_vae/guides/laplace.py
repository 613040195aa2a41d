from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae.guides._factorised import FactorisedGuide
from pyro_vae.guides._guide import Capabilities

__all__ = ["LaplaceGuide"]


class LaplaceGuide(FactorisedGuide):
    """q(z_j|x) = Laplace(μ_j(x), s_j(x)): a location-scale family, its tails exponential.

    Sampled as μ + s·ε. Source: Kingma and Welling (2014), section 2.4.

    Args:
        encoder: data [batch, *event] to [batch, 2·latent]: μ, and s before a softplus.

    Raises:
        ShapeError: for an odd number of encoder outputs.

    >>> import torch
    >>> LaplaceGuide(torch.nn.Linear(4, 2 * 3)).posterior(torch.zeros(5, 4)).event_shape
    torch.Size([3])
    """

    capabilities = Capabilities(closed_form_kl=True)

    def family(self, location: Tensor, raw_scale: Tensor) -> Distribution:
        return dist.Laplace(location, softplus(raw_scale))
