from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae._module import feature_count
from pyro_vae.guides._guide import Guide

__all__ = ["DirichletGuide"]


class DirichletGuide(Guide):
    """q(z|x) = Dirichlet(α(x)): z ≥ 0 with Σ_j z_j = 1, for a prior on the simplex.

    Its samples have a gradient by implicit differentiation (Figurnov et al., 2018), as torch has
    it. The KL has a closed form to another Dirichlet.

    Args:
        encoder: data [batch, *event] to [batch, latent]: concentrations before a softplus.

    >>> import torch
    >>> guide = DirichletGuide(nn.Linear(4, 3))
    >>> bool(guide.posterior(torch.zeros(5, 4)).sample().sum(-1).allclose(torch.ones(5)))
    True
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        self.latent_dim = feature_count(encoder, "out_features")

    def posterior(self, x: Tensor) -> Distribution:
        return dist.Dirichlet(softplus(self.encoder(x)))
