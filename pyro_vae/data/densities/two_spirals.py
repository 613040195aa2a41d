from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data.densities._density import Density

__all__ = ["TwoSpirals"]

_END = 3 * math.pi
_SCALE, _DEVIATION = 1 / 24, 0.0125
_PANELS, _NODES = 128, 8
_CHUNK = 4096


class TwoSpirals(Density):
    """Two spirals ±(−n cos n, n sin n)/24, n = 3π√u for u uniform on [0, 1), with normal noise of
    σ = 0.0125: Yu, section 6, as the paper's notebook defines it. Its entropy is −2.335 bits.

    The density is an integral along the arms, by Gauss and Legendre's rule on 128 panels of 8
    nodes each, each panel about two deviations of the noise long at most.

    >>> round(TwoSpirals().entropy / math.log(2), 3)
    -2.335
    """

    name = "2 spirals"
    grid_half_width = 0.47  # the arms end at 0.393, six deviations inside

    def sample(
        self,
        count: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        sign = 2 * torch.randint(2, (count, 1), device=device).to(dtype) - 1
        n = _END * torch.rand(count, dtype=dtype, device=device).sqrt()
        return sign * _arm(n) + _DEVIATION * torch.randn(count, 2, dtype=dtype, device=device)

    def log_prob(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, 2)
        parts = [self._log_prob(part) for part in flat.split(_CHUNK)]
        return torch.cat(parts).reshape(x.shape[:-1])

    def _log_prob(self, x: Tensor) -> Tensor:
        points, log_weights = (part.to(x) for part in self._nodes)
        squared = (x[:, None, :] - points).square().sum(-1)
        log_normaliser = math.log(2 * math.pi * _DEVIATION**2)
        exponents = log_weights - squared / (2 * _DEVIATION**2)
        return exponents.logsumexp(-1) - log_normaliser

    @cached_property
    def _nodes(self) -> tuple[Tensor, Tensor]:
        """Points on both arms, [nodes, 2], and the logarithms of their weights, [nodes]."""
        node, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(_NODES))
        width = _END / _PANELS
        start = width * torch.arange(_PANELS, dtype=torch.float64)
        n = (start[:, None] + width * (node + 1) / 2).flatten()
        # The density of n is 2n/(3π)², half of it on either arm.
        mass = n / _END**2 * (weight * width / 2).repeat(_PANELS)
        arm = _arm(n)
        return torch.cat([arm, -arm]), mass.log().repeat(2)


def _arm(n: Tensor) -> Tensor:
    """Points on one arm, [..., 2]."""
    return _SCALE * torch.stack([-n * n.cos(), n * n.sin()], -1)
