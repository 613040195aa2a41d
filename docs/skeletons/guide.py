"""A guide in one file: a low-rank-plus-diagonal normal, which can follow correlated posteriors."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae import Guide, ShapeError


class LowRankNormalGuide(Guide):
    """q(z|x) = N(μ(x), F(x)F(x)ᵀ + diag d(x)), F of shape [latent, rank].

    Args:
        encoder: data [batch, *event] to [batch, latent·(2 + rank)]: μ, raw d, and F row by row.
        latent_dim: the dimension of z.
        rank: the number of directions in which latents are correlated.
    """

    def __init__(self, encoder: nn.Module, latent_dim: int, rank: int = 1) -> None:
        super().__init__(encoder)
        self.latent_dim, self.rank = latent_dim, rank

    def posterior(self, x: Tensor) -> Distribution:
        """Batch shape (batch,), event shape (latent_dim,). Row i may depend on datum i only."""
        outputs, n = self.encoder(x), self.latent_dim
        if outputs.shape[-1] != n * (2 + self.rank):
            raise ShapeError(
                f"LowRankNormalGuide: expected {n * (2 + self.rank)} encoder outputs, "
                f"latent·(2 + rank); got {outputs.shape[-1]}."
            )
        mean, raw_diagonal, factor = outputs.split([n, n, n * self.rank], dim=-1)
        factor = factor.unflatten(-1, (n, self.rank))
        return dist.LowRankMultivariateNormal(mean, factor, softplus(raw_diagonal) + 1e-4)
