from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from pyro_vae.distributions.logistic import Logistic, logistic_scale
from pyro_vae.likelihoods._location_scale import LocationScaleLikelihood

__all__ = ["LogisticLikelihood"]


class LogisticLikelihood(LocationScaleLikelihood):
    """p(x|z) = ∏_d Logistic(x_d; ν_d(z), s), s = √3 σ/π: close to the normal, its distribution
    function a sigmoid (Kingma et al., 2016; Yu, section 4.2).

    For data that were quantised, :class:`DiscretisedLogisticLikelihood` has the probability of the
    whole bin.

    Args:
        decoder: latents [..., latent] to locations [..., *event].
        variance: σ² and how it comes about.

    Raises:
        TypeError: a variance that is no :class:`~pyro_vae.likelihoods.Variance`.

    >>> import torch
    >>> LogisticLikelihood(torch.nn.Linear(2, 3))(torch.zeros(5, 2)).batch_shape
    torch.Size([5])
    """

    def family(self, mean: Tensor, deviation: Tensor) -> Distribution:
        return Logistic(mean, logistic_scale(deviation))
