from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae.distributions import DiscretisedLogistic
from pyro_vae.distributions.logistic import logistic_scale
from pyro_vae.likelihoods._location_scale import LocationScaleLikelihood
from pyro_vae.likelihoods.variances import Variance

__all__ = ["DiscretisedLogisticLikelihood"]


class DiscretisedLogisticLikelihood(LocationScaleLikelihood):
    """P(x|z), the probability that a logistic density gives to the bin around x (Kingma et al.,
    2016; Yu, eq. 34, with bins of 1/256 above x): a mass on quantised data, whose −log₂ are bits.

    Against :class:`LogisticLikelihood`, a density, it cannot gain without limit as σ² → 0.

    Args:
        decoder: latents [..., latent] to locations [..., *event].
        variance: σ² of the logistic density, before rounding, and how it comes about.
        bins: how many values there are, evenly from ``low`` to ``high``.
        low, high: the least and the greatest.

    Raises:
        TypeError: a variance that is no :class:`~pyro_vae.likelihoods.Variance`.
        ValueError: fewer than two bins, or ``low`` not below ``high``; data between two values,
            which ``fit`` says before training.

    >>> import torch
    >>> likelihood = DiscretisedLogisticLikelihood(nn.Linear(2, 3), bins=4)
    >>> x = torch.tensor([[0.0, 1 / 3, 1.0]])
    >>> likelihood(torch.zeros(1, 2)).log_prob(x).shape
    torch.Size([1])
    """

    def __init__(
        self,
        decoder: nn.Module,
        variance: Variance | None = None,
        *,
        bins: int = 256,
        low: float = 0.0,
        high: float = 1.0,
    ) -> None:
        super().__init__(decoder, variance)
        if bins < 2 or not low < high:
            raise ValueError(
                f"bins, low, high: expected ≥ 2 bins and low < high; got {bins}, {low}, {high}."
            )
        self.bins, self.low, self.high = bins, low, high

    def family(self, mean: Tensor, deviation: Tensor) -> Distribution:
        return DiscretisedLogistic(mean, logistic_scale(deviation), self.bins, self.low, self.high)
