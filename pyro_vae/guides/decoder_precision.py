from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae._module import feature_count
from pyro_vae.distributions import jacobian, location_and_information, normal_moments
from pyro_vae.guides._guide import Capabilities, Guide

__all__ = ["DecoderPrecisionGuide"]


class DecoderPrecisionGuide(Guide):
    """q(z|x) = N(μ(x), Λ⁻¹), Λ = S⁻² + JᵀT⁻¹J at μ: Fyffe's "true posterior", eq. 12 and 25.

    Only the mean is an encoder's; the whole covariance is the decoder's own curvature, J its
    Jacobian by n passes side by side, T⁻¹ the information of the decoded parameter (the variance of
    a normal likelihood inverted). The posterior where the decoder is linear over its width. It
    makes importance samples for a model trained with any other guide of the same encoder. Gradients
    flow through Λ, with second derivatives of the decoder.

    Args:
        encoder: data [batch, *event] to means [batch, latent].
        prior: a module whose ``forward()`` gives p(z), a diagonal normal.
        likelihood: a module whose ``forward(z)`` gives p(x|z). Neither is registered: their
            parameters are the model's.

    Raises:
        PairError: when called with a prior that is no diagonal normal, or a likelihood whose
            information is not known.

    >>> from pyro_vae import NormalLikelihood, StandardNormalPrior
    >>> likelihood = NormalLikelihood(nn.Linear(2, 4))
    >>> guide = DecoderPrecisionGuide(nn.Linear(4, 2), StandardNormalPrior(2), likelihood)
    >>> guide.posterior(torch.zeros(5, 4)).covariance_matrix.shape
    torch.Size([5, 2, 2])
    """

    capabilities = Capabilities(closed_form_kl=True)
    _prior: Any
    _likelihood: Any

    def __init__(self, encoder: nn.Module, prior: nn.Module, likelihood: nn.Module) -> None:
        super().__init__(encoder)
        self.latent_dim = feature_count(encoder, "out_features")
        # Held without registering them: their parameters are the model's.
        object.__setattr__(self, "_prior", prior)
        object.__setattr__(self, "_likelihood", likelihood)

    def posterior(self, x: Tensor) -> Distribution:
        mean = self.encoder(x)
        _, information = location_and_information(self._likelihood(mean))
        j = jacobian(self._location, mean, mode="forward")
        metric = j.mT @ (information.flatten(1).unsqueeze(-1) * j)
        _, variance = normal_moments(self._prior(), "prior")
        precision = metric + torch.diag_embed(variance.reciprocal())
        return dist.MultivariateNormal(mean, precision_matrix=precision)

    def _location(self, z: Tensor) -> Tensor:
        location, _ = location_and_information(self._likelihood(z))
        return location.flatten(z.dim() - 1)

    def _apply(self, function: Any, recurse: bool = True) -> DecoderPrecisionGuide:
        # Where this goes, they go: their tensors meet.
        self._prior._apply(function, recurse)
        self._likelihood._apply(function, recurse)
        return super()._apply(function, recurse)
