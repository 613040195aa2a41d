from __future__ import annotations

import math

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae.likelihoods._location_scale import LocationScaleLikelihood

__all__ = ["LaplaceLikelihood"]


class LaplaceLikelihood(LocationScaleLikelihood):
    """p(x|z) = ∏_d Laplace(x_d; ν_d(z), b), b = σ/√2: absolute instead of squared errors.

    .. math:: -\\log p(x|z) = \\sum_d |x_d - ν_d|/b + \\log 2b

    Outliers weigh less than under :class:`NormalLikelihood`.

    Args:
        decoder: latents [..., latent] to locations [..., *event].
        variance: σ² and how it comes about.

    Raises:
        TypeError: a variance that is no :class:`~pyro_vae.likelihoods.Variance`.

    >>> import torch
    >>> LaplaceLikelihood(torch.nn.Linear(2, 3))(torch.zeros(5, 2)).batch_shape
    torch.Size([5])
    """

    def family(self, mean: Tensor, deviation: Tensor) -> Distribution:
        return dist.Laplace(mean, deviation / math.sqrt(2))
