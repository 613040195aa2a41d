from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae.guides._factorised import FactorisedGuide
from pyro_vae.guides._guide import Capabilities

__all__ = ["NormalGuide"]


class NormalGuide(FactorisedGuide):
    """q(z|x) = N(μ(x), diag σ²(x)): mean and variance both learned.

    The encoder's first half of outputs is μ, the softplus of the second half is the standard
    deviation σ, as Fyffe, section 7, has it. Source: Kingma and Welling (2014), section 3.

    Args:
        encoder: data [batch, *event] to [batch, 2·latent].

    Raises:
        ShapeError: for an odd number of encoder outputs.

    >>> import torch
    >>> NormalGuide(torch.nn.Linear(4, 2 * 3)).posterior(torch.zeros(5, 4)).event_shape
    torch.Size([3])
    """

    capabilities = Capabilities(closed_form_kl=True)

    def family(self, mean: Tensor, raw_scale: Tensor) -> Distribution:
        return dist.Normal(mean, softplus(raw_scale))
