"""Pareto-smoothed importance sampling of each datum's weights apart, all data side by side.

Vehtari, Simpson, Gelman, Yao and Gabry, 2024. A fit of our own: arviz 0.23 rounds the size of a
tail up and arviz 1.x down, so that the second digit of k̂ would say which of them is installed.
Where both take the same tail, theirs and this one are the same to rounding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_vae._shapes import PerDatum, PerParticle

LEAST_TAIL = 5
"""Weights above the cutoff without which no tail is fitted."""

LEAST_SAMPLES = 21
"""The fewest samples a datum of which a fifth, rounded up, is such a tail."""

# Excesses below this share of the largest weight are none: their inverses would overflow.
_NOTHING = 1e-300
# Numbers of a fit that are held at once: 16 MB.
_AT_ONCE = 2**21


def threshold_of(num_samples: int) -> float:
    """min(1 − 1/log₁₀ S, 0.7): the k̂ below which S samples are enough (section 3.2.4)."""
    return min(1 - 1 / math.log10(num_samples), 0.7)


def tail_size(num_samples: int) -> int:
    """⌈min(S/5, 3√S)⌉, the number of largest weights that are taken for the tail."""
    return math.ceil(min(num_samples / 5, 3 * math.sqrt(num_samples)))


def smooth(log_weight: PerParticle) -> tuple[PerParticle, PerDatum]:
    """Log-weights with smoothed tails, [samples, data], and k̂, [data], in double precision.

    k̂ is −∞ where the largest weights are equal, up to the square root of their precision: there is
    no tail. It is +∞ where fewer than five weights lie above the others: too few to be fitted. The
    weights of such data stay as they are.
    """
    top = log_weight.double().max(0).values
    # The largest weight is one; a datum in each row.
    relative = (log_weight.double() - top).T.contiguous()
    largest = relative.topk(tail_size(len(log_weight)) + 1)
    tail, where = largest.values.flip(1)[:, 1:], largest.indices.flip(1)[:, 1:]
    cutoff = largest.values[:, -1:].clamp(min=math.log(_NOTHING))
    excess = cutoff.exp() * (tail - cutoff).expm1()
    count = (excess > _NOTHING).sum(1)
    count[cutoff[:, 0] >= -math.sqrt(torch.finfo(log_weight.dtype).eps)] = 0
    k = torch.where(count == 0, -math.inf, math.inf).double()
    # Without ties or weights of zero every datum has the same count.
    for size in count[count >= LEAST_TAIL].unique().tolist():
        rows = (count == size).nonzero()[:, 0]
        k[rows], smoothed = _fit(excess[rows, -size:])
        of_tail = (smoothed + cutoff[rows].exp()).log().clamp(max=0)
        relative[rows[:, None], where[rows, -size:]] = of_tail
    return relative.T + top, k


def _fit(excess: Tensor) -> tuple[Tensor, Tensor]:
    """k̂, [rows], and the quantiles of the fit in place of the ``excess``, [rows, tail], sorted."""
    size = excess.shape[1]
    at_once = max(1, _AT_ONCE // (size * _grid_size(size)))
    fits = [_generalised_pareto(rows) for rows in excess.split(at_once)]
    k, scale = (torch.cat(part) for part in zip(*fits, strict=True))
    probability = (torch.arange(size, dtype=k.dtype, device=k.device) + 0.5) / size
    return k, _quantile(probability, k[:, None], scale[:, None])


def _generalised_pareto(excess: Tensor) -> tuple[Tensor, Tensor]:
    """Shape and scale of each row: after Zhang and Stephens (2009).

    The posterior mean of θ = −k/σ on a grid, at the profile likelihood; then k is drawn towards ½
    with the weight of ten observations (Vehtari et al., 2024).
    """
    size = excess.shape[1]
    points = _grid_size(size)
    step = torch.arange(1, points + 1, dtype=excess.dtype, device=excess.device)
    quartile = excess[:, int(size / 4 + 0.5) - 1, None]
    theta = 1 / excess[:, -1:] + (1 - (points / (step - 0.5)).sqrt()) / (3 * quartile)
    shape, scale = _profile(theta, excess)
    weight = (-size * (scale.log() + shape + 1)).softmax(1)
    # A negligible weight is none, however large its θ.
    weight = weight.where(weight >= 10 * torch.finfo(weight.dtype).eps, 0.0)
    theta = (weight * theta).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    shape, scale = (value[:, 0] for value in _profile(theta, excess))
    return (size * shape + 10 * 0.5) / (size + 10), scale


def _grid_size(size: int) -> int:
    return 30 + math.isqrt(size)


def _profile(theta: Tensor, excess: Tensor) -> tuple[Tensor, Tensor]:
    """The most likely shape and scale at each θ = −k/σ, [rows, points]."""
    shape = (-theta[..., None] * excess[:, None]).log1p().mean(-1)
    exponential = excess.mean(1, keepdim=True)  # θ = 0
    return shape, torch.where(theta == 0, exponential, -shape / theta)


def _quantile(probability: Tensor, k: Tensor, scale: Tensor) -> Tensor:
    exponential = -(-probability).log1p()  # k = 0
    curved = torch.where(k == 0, exponential, (k * exponential).expm1() / k)
    return scale * curved
