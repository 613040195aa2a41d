from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae.likelihoods._likelihood import Likelihood, Posterior, event_dims, no_posterior
from pyro_vae.likelihoods.variances import FixedVariance, Variance

__all__ = ["LocationScaleLikelihood"]


class LocationScaleLikelihood(Likelihood):
    """p(x|z) = ∏_d p(x_d; ν_d(z), σ²), a density with mean ν and variance σ², or what rounding
    makes of one: then ν and σ² are those before rounding. A likelihood implements ``family``.

    Args:
        decoder: latents [..., latent] to means ν [..., *event]; with
            :class:`~pyro_vae.likelihoods.DecodedVariance` to means and log-variances.
        variance: σ² and how it comes about; 1 by default.

    Raises:
        TypeError: a variance that is a number or anything else but a
            :class:`~pyro_vae.likelihoods.Variance`.
    """

    def __init__(self, decoder: nn.Module, variance: Variance | None = None) -> None:
        super().__init__(decoder)
        self.variance = FixedVariance(1.0) if variance is None else _checked(variance)

    @abstractmethod
    def family(self, mean: Tensor, deviation: Tensor) -> Any:
        """The distribution of single values, from the density's mean and standard deviation."""

    def forward(self, z: Tensor) -> Distribution:
        mean, variance = self.variance.split(self._decoded(z))
        return self._of_data(mean, variance, z)

    def during_inference(
        self, z: Tensor, x: Tensor, posterior: Posterior = no_posterior
    ) -> Distribution:
        mean, variance = self.variance.split_during_inference(self._decoded(z), x, posterior)
        return self._of_data(mean, variance, z)

    def _of_data(self, mean: Tensor, variance: Tensor, z: Tensor) -> Distribution:
        return self.family(mean, variance.sqrt()).to_event(event_dims(mean, z))


def _checked(variance: Any) -> Variance:
    if not isinstance(variance, Variance):
        number = isinstance(variance, int | float)
        way = f"FixedVariance({variance})" if number else "e.g. FixedVariance(0.2)"
        raise TypeError(f"variance: expected a Variance; got {variance!r}. Take {way}.")
    return variance
