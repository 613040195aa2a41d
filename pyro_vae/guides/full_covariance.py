from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae._errors import ShapeError
from pyro_vae._module import feature_count
from pyro_vae.guides._guide import Capabilities, Guide

__all__ = ["FullCovarianceGuide"]


class FullCovarianceGuide(Guide):
    """q(z|x) = N(μ(x), LLᵀ), L = L(x) triangular: the posterior of Yu's Σ-VAE, section 3.3.

    Against :class:`NormalGuide` its latents may be correlated given x, at n(n−1)/2 more outputs.

    Args:
        encoder: data [batch, *event] to [batch, n + n(n+1)/2]: μ, then L by rows, its diagonal
            before a softplus.

    Raises:
        ShapeError: a number of encoder outputs that is not n + n(n+1)/2 for any n.

    >>> guide = FullCovarianceGuide(nn.Linear(4, 3 + 6))
    >>> guide.posterior(torch.zeros(5, 4)).covariance_matrix.shape
    torch.Size([5, 3, 3])
    """

    capabilities = Capabilities(closed_form_kl=True)

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        outputs = feature_count(encoder, "out_features")
        if outputs is not None:
            self.latent_dim = _latents(outputs)

    def posterior(self, x: Tensor) -> Distribution:
        outputs = self.encoder(x)
        latents = _latents(outputs.shape[-1])
        mean, rows = outputs[..., :latents], outputs[..., latents:]
        return dist.MultivariateNormal(mean, scale_tril=_triangular(rows, latents))


def _triangular(rows: Tensor, size: int) -> Tensor:
    """L [..., size, size] from its rows one after another, the diagonal made positive."""
    below = torch.tril_indices(size, size, device=rows.device)
    places = below[0] * size + below[1]
    full = rows.new_zeros(*rows.shape[:-1], size * size).index_copy(-1, places, rows)
    full = full.unflatten(-1, (size, size))
    diagonal = softplus(full.diagonal(dim1=-2, dim2=-1))
    return full.tril(-1) + torch.diag_embed(diagonal)


def _latents(outputs: int) -> int:
    """n of n + n(n+1)/2 = outputs."""
    latents = (math.isqrt(9 + 8 * outputs) - 3) // 2
    if latents < 1 or latents + latents * (latents + 1) // 2 != outputs:
        raise ShapeError(
            "FullCovarianceGuide: expected an encoder with n + n(n+1)/2 outputs for n latents (2, "
            f"5, 9, 14, …); got {outputs}."
        )
    return latents
