from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae.guides._factorised import FactorisedGuide
from pyro_vae.guides._guide import Capabilities

__all__ = ["GammaGuide"]


class GammaGuide(FactorisedGuide):
    """q(z_j|x) = Gamma(α_j(x), β_j(x)): z > 0, for a prior on the positive numbers.

    Its samples have a gradient by implicit differentiation of the distribution function (Figurnov
    et al., 2018), as torch has it.

    Args:
        encoder: data [batch, *event] to [batch, 2·latent]: concentration α and rate β, each before
            a softplus.

    Raises:
        ShapeError: for an odd number of encoder outputs.

    >>> import torch
    >>> GammaGuide(torch.nn.Linear(4, 2 * 3)).posterior(torch.zeros(5, 4)).event_shape
    torch.Size([3])
    """

    capabilities = Capabilities(closed_form_kl=True)

    def family(self, concentration: Tensor, rate: Tensor) -> Distribution:
        return dist.Gamma(softplus(concentration), softplus(rate))
