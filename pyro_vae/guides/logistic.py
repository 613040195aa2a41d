from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae.distributions import Logistic
from pyro_vae.guides._factorised import FactorisedGuide
from pyro_vae.guides._guide import Capabilities

__all__ = ["LogisticGuide"]


class LogisticGuide(FactorisedGuide):
    """q(z_j|x) = Logistic(μ_j(x), s_j(x)), sampled by its inverse distribution function:

    .. math:: z = μ + s \\log \\frac{ε}{1 - ε}, \\quad ε \\sim U(0, 1)

    Close to a normal with standard deviation πs/√3, the tails heavier. Source: Kingma and Welling
    (2014), section 2.4.

    Args:
        encoder: data [batch, *event] to [batch, 2·latent]: μ, and s before a softplus.

    Raises:
        ShapeError: for an odd number of encoder outputs.

    >>> import torch
    >>> LogisticGuide(torch.nn.Linear(4, 2 * 3)).posterior(torch.zeros(5, 4)).event_shape
    torch.Size([3])
    """

    capabilities = Capabilities()

    def family(self, location: Tensor, raw_scale: Tensor) -> Distribution:
        return Logistic(location, softplus(raw_scale))
