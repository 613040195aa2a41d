from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae.likelihoods._likelihood import Likelihood, event_dims
from pyro_vae.likelihoods.variances import FixedVariance, Variance

__all__ = ["NormalLikelihood"]


class NormalLikelihood(Likelihood):
    """p(x|z) = N(ν(z), σ² I), the decoder gives the mean ν.

    What σ² is, is a :class:`~pyro_vae.likelihoods.Variance`: fixed (the default, σ² = 1), learned
    (shared or per dimension), or optimal in closed form. Sources: Fyffe, section 3; Yu,
    eq. 40–43.

    Args:
        decoder: latents [..., latent] to means [..., *event].
        variance: σ² and how it comes about.

    >>> import torch
    >>> likelihood = NormalLikelihood(torch.nn.Linear(2, 3), FixedVariance(0.25))
    >>> likelihood(torch.zeros(5, 2)).base_dist.scale[0]
    tensor([0.5000, 0.5000, 0.5000])
    """

    def __init__(self, decoder: nn.Module, variance: Variance | None = None) -> None:
        super().__init__(decoder)
        self.variance = FixedVariance(1.0) if variance is None else variance

    def forward(self, z: Tensor) -> Distribution:
        mean = self.decoder(z)
        return _normal(mean, self.variance(), event_dims(mean, z))

    def during_inference(self, z: Tensor, x: Tensor) -> Distribution:
        mean = self.decoder(z)
        return _normal(mean, self.variance.during_inference(mean, x), event_dims(mean, z))


def _normal(mean: Tensor, variance: Tensor, event_dim: int) -> Distribution:
    return dist.Normal(mean, variance.sqrt()).to_event(event_dim)
