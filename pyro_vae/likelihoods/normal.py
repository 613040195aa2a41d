from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae.likelihoods._location_scale import LocationScaleLikelihood

__all__ = ["NormalLikelihood"]


class NormalLikelihood(LocationScaleLikelihood):
    """p(x|z) = N(ν(z), σ² I), the decoder gives the mean ν.

    What σ² is, is a :class:`~pyro_vae.likelihoods.Variance`: fixed (the default, σ² = 1), learned
    (shared or per dimension), given by the decoder, or optimal in closed form. Sources: Fyffe,
    sections 4.1 (σ² = 1) and 5 (any); Yu, eq. 5 and 40–43.

    Args:
        decoder: latents [..., latent] to means [..., *event].
        variance: σ² and how it comes about.

    Raises:
        TypeError: a variance that is no :class:`~pyro_vae.likelihoods.Variance`.

    >>> import torch
    >>> from pyro_vae import FixedVariance
    >>> likelihood = NormalLikelihood(torch.nn.Linear(2, 3), FixedVariance(0.25))
    >>> likelihood(torch.zeros(5, 2)).base_dist.scale[0]
    tensor([0.5000, 0.5000, 0.5000])
    """

    def family(self, mean: Tensor, deviation: Tensor) -> Distribution:
        return dist.Normal(mean, deviation)
