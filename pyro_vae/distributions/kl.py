"""Closed forms of the Kullback-Leibler divergence that torch does not have."""

from __future__ import annotations

import torch
from pyro.distributions import MultivariateNormal
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, register_kl

__all__: list[str] = []


@register_kl(torch.distributions.MultivariateNormal, Independent)
def _normal_with_covariance_to_diagonal(q: MultivariateNormal, p: Independent) -> Tensor:
    """KL(N(μ, Σ) ‖ N(m, diag s²)), Yu, eq. 26–27:

    ½ Σ_j [(Σ_jj + (μ_j − m_j)²)/s_j² − 1 + log s_j²] − ½ log|Σ|.
    """
    base = _diagonal_normal(p)
    variance = q.scale_tril.square().sum(-1)  # diag LLᵀ
    squared = (variance + (q.loc - base.loc).square()) / base.scale.square()
    log_determinant = q.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return (
        0.5 * (squared - 1).sum(-1) + base.scale.log().expand_as(squared).sum(-1) - log_determinant
    )


def _diagonal_normal(p: Independent) -> Normal:
    base: Distribution = p.base_dist
    if not (isinstance(base, Normal) and p.reinterpreted_batch_ndims == 1):
        raise NotImplementedError
    return base
