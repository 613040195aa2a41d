from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae.guides._factorised import FactorisedGuide
from pyro_vae.guides._guide import Capabilities

__all__ = ["BetaGuide"]


class BetaGuide(FactorisedGuide):
    """q(z_j|x) = Beta(α_j(x), β_j(x)): z in (0, 1), for a prior on the unit interval.

    Its samples have a gradient by implicit differentiation of the distribution function (Figurnov
    et al., 2018), as torch has it.

    Args:
        encoder: data [batch, *event] to [batch, 2·latent]: the two concentrations, each before a
            softplus.

    Raises:
        ShapeError: for an odd number of encoder outputs.

    >>> import torch
    >>> BetaGuide(torch.nn.Linear(4, 2 * 3)).posterior(torch.zeros(5, 4)).event_shape
    torch.Size([3])
    """

    capabilities = Capabilities(closed_form_kl=True)

    def family(self, one: Tensor, other: Tensor) -> Distribution:
        return dist.Beta(softplus(one), softplus(other))
