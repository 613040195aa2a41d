from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution, Transform

from pyro_vae.distributions import forget_samples, jacobian
from pyro_vae.guides._guide import Capabilities, Guide

__all__ = ["InverseFlowGuide"]


class InverseFlowGuide(Guide):
    """q(z|x) = N(f⁻¹(x), ε² J⁻¹J⁻ᵀ), J = ∂f/∂z at f⁻¹(x): the guide of Yu's Σ-VAE limit, eq. 19.

    With the decoder mean f(z), decoder variance ε² and prior N(0, I), minus the ELBO tends to the
    negative log-likelihood of the flow f itself as ε → 0 (eq. 29–32): a VAE with a full posterior
    covariance can do what a normalising flow can. (Eq. 30 as printed lacks a factor ½ before its
    log-determinant; 31 and 32 have it.) Whole Jacobians are taken: for a few latents.

    Args:
        f: an invertible transform, latents to data, of the same size; one with parameters, or a
            composition of some, is a module (``ComposeTransformModule``).
        epsilon: ε > 0.

    Raises:
        ValueError: for an ε that is not positive and finite.

    >>> import torch
    >>> from pyro.distributions.transforms import affine_coupling
    >>> guide = InverseFlowGuide(affine_coupling(2, [8]), epsilon=0.01)
    >>> guide.posterior(torch.zeros(5, 2)).covariance_matrix.shape
    torch.Size([5, 2, 2])
    """

    capabilities = Capabilities(closed_form_kl=True)

    def __init__(self, f: Transform, epsilon: float) -> None:
        super().__init__()
        if not (math.isfinite(epsilon) and epsilon > 0):
            raise ValueError(f"epsilon: expected a positive, finite number; got {epsilon}.")
        self.f, self.epsilon = f, epsilon

    def __getstate__(self) -> dict[str, Any]:
        forget_samples(self)
        return super().__getstate__()

    def posterior(self, x: Tensor) -> Distribution:
        forget_samples(self)
        mean = self.f.inv(x)
        j = jacobian(self.f, mean)
        return dist.MultivariateNormal(mean, precision_matrix=j.mT @ j / self.epsilon**2)
