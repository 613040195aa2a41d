from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae.guides._factorised import FactorisedGuide

__all__ = ["StudentTGuide"]


class StudentTGuide(FactorisedGuide):
    """q(z_j|x) = StudentT(ν; μ_j(x), s_j(x)): a location-scale family with polynomial tails.

    Tails heavier than the posterior's keep importance weights bounded.

    Args:
        encoder: data [batch, *event] to [batch, 2·latent]: μ, and s before a softplus.
        degrees_of_freedom: ν; the variance is finite above 2.

    Raises:
        ShapeError: for an odd number of encoder outputs.
        ValueError: for degrees of freedom that are not positive and finite.

    >>> guide = StudentTGuide(nn.Linear(4, 2 * 3), degrees_of_freedom=5.0)
    >>> guide.posterior(torch.zeros(5, 4)).event_shape
    torch.Size([3])
    """

    degrees_of_freedom: Tensor

    def __init__(self, encoder: nn.Module, degrees_of_freedom: float = 4.0) -> None:
        super().__init__(encoder)
        if not (math.isfinite(degrees_of_freedom) and degrees_of_freedom > 0):
            raise ValueError(
                f"degrees_of_freedom: expected a positive, finite number; got {degrees_of_freedom}."
            )
        self.register_buffer("degrees_of_freedom", torch.tensor(float(degrees_of_freedom)))

    def family(self, location: Tensor, raw_scale: Tensor) -> Distribution:
        return dist.StudentT(self.degrees_of_freedom, location, softplus(raw_scale))
