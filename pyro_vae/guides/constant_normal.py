from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae._module import feature_count
from pyro_vae.guides._guide import Capabilities, Guide

__all__ = ["ConstantNormalGuide"]


class ConstantNormalGuide(Guide):
    """q(z|x) = N(μ(x), s² I): the encoder gives means only, half the outputs.

    Source: Fyffe, section 4.3, Σ = s² I; it goes with a
    :class:`~pyro_vae.priors.FloatingPrior`, since with a fixed prior the scale of the latents is
    no longer free.

    Args:
        encoder: data [batch, *event] to means [batch, latent].
        scale: the standard deviation s of every posterior.

    Raises:
        ValueError: for a scale that is not positive and finite.

    >>> guide = ConstantNormalGuide(nn.Linear(4, 3), scale=0.1)
    >>> guide.posterior(torch.zeros(5, 4)).base_dist.scale.unique()
    tensor([0.1000])
    """

    capabilities = Capabilities(closed_form_kl=True)
    scale: Tensor

    def __init__(self, encoder: nn.Module, scale: float = 1.0) -> None:
        super().__init__(encoder)
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale: expected a positive, finite number; got {scale}.")
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.latent_dim = feature_count(encoder, "out_features")

    def posterior(self, x: Tensor) -> Distribution:
        mean = self.encoder(x)
        return dist.Normal(mean, self.scale.expand_as(mean)).to_event(1)
