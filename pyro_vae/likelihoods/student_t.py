from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae.likelihoods._location_scale import LocationScaleLikelihood
from pyro_vae.likelihoods.variances import Variance

__all__ = ["StudentTLikelihood"]


class StudentTLikelihood(LocationScaleLikelihood):
    """p(x|z) = ∏_d StudentT(x_d; k, ν_d(z), s), s² = σ² (k−2)/k: polynomial tails, for data with
    outliers (Takahashi et al., 2018).

    Args:
        decoder: latents [..., latent] to locations [..., *event].
        variance: σ² and how it comes about.
        degrees_of_freedom: k > 2, so that there is a variance.

    Raises:
        TypeError: a variance that is no :class:`~pyro_vae.likelihoods.Variance`.
        ValueError: degrees of freedom that are not above 2 and finite.

    >>> likelihood = StudentTLikelihood(nn.Linear(2, 3), degrees_of_freedom=5.0)
    >>> likelihood(torch.zeros(5, 2)).variance[0].round().tolist()
    [1.0, 1.0, 1.0]
    """

    degrees_of_freedom: Tensor

    def __init__(
        self,
        decoder: nn.Module,
        variance: Variance | None = None,
        *,
        degrees_of_freedom: float = 4.0,
    ) -> None:
        super().__init__(decoder, variance)
        if not (math.isfinite(degrees_of_freedom) and degrees_of_freedom > 2):
            raise ValueError(
                f"degrees_of_freedom: expected a finite number > 2; got {degrees_of_freedom}."
            )
        self.register_buffer("degrees_of_freedom", torch.tensor(float(degrees_of_freedom)))

    def family(self, mean: Tensor, deviation: Tensor) -> Distribution:
        k = self.degrees_of_freedom
        return dist.StudentT(k, mean, deviation * ((k - 2) / k).sqrt())
