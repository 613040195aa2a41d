from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from pyro_vae.data.densities._density import Density

__all__ = ["EightGaussians", "GaussianRing"]

_REACH = 8  # deviations from a centre beyond which there is no mass to speak of: 10⁻¹⁴


class GaussianRing(Density):
    """Normals with equal weights, evenly spaced on a circle around the origin.

    Args:
        components: how many.
        radius: of the circle.
        deviation: σ, of each coordinate.

    Raises:
        ValueError: fewer than one component, or sizes that are not positive.

    >>> one = GaussianRing(1, radius=0.1, deviation=0.02)
    >>> exact = math.log(2 * math.pi * math.e * 0.02**2)
    >>> abs(one.entropy - exact) < 1e-6
    True
    """

    def __init__(self, components: int, *, radius: float = 0.35, deviation: float = 0.02) -> None:
        if components < 1 or not (radius > 0 and deviation > 0):
            raise ValueError(
                "components, radius, deviation: expected ≥ 1 component and positive sizes; got "
                f"{components}, {radius}, {deviation}."
            )
        self.components, self.radius, self.deviation = components, radius, deviation
        self.name = f"{components} Gaussians"
        self.grid_half_width, self.grid_step = radius + _REACH * deviation, deviation / 8

    @cached_property
    def entropy(self) -> float:
        """H = −E[log p(x)] in nats, x from the first normal: by symmetry it is the same from each.

        By the trapezoidal rule on a grid of eight deviations around it, of its deviation's own
        scale: whatever the sizes, as many points.
        """
        half = _REACH * self.deviation
        axis = torch.arange(-half, half, self.grid_step, dtype=torch.float64)
        weight = (-axis.square() / (2 * self.deviation**2)).softmax(0)  # of a normal, adds up to 1
        centre = self._centres(torch.zeros((), dtype=torch.float64))
        total = 0.0
        for row, share in zip(axis, weight, strict=True):  # one line at a time bounds the memory
            log_p = self.log_prob(centre + torch.stack([row.expand_as(axis), axis], -1))
            total -= (share * weight * log_p).sum().item()
        return total

    def sample(
        self,
        count: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        which = torch.randint(self.components, (count,), device=device)
        noise = torch.randn(count, 2, dtype=dtype, device=device)
        return self._centres(which.to(dtype)) + self.deviation * noise

    def log_prob(self, x: Tensor) -> Tensor:
        centres = self._centres(torch.arange(self.components, dtype=x.dtype, device=x.device))
        squared = (x[..., None, :] - centres).square().sum(-1)
        log_normaliser = math.log(self.components * 2 * math.pi * self.deviation**2)
        return (-squared / (2 * self.deviation**2)).logsumexp(-1) - log_normaliser

    def _centres(self, which: Tensor) -> Tensor:
        angle = which * (2 * math.pi / self.components)
        return self.radius * torch.stack([angle.cos(), angle.sin()], -1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.components})"


_UNIT = 8 * math.sqrt(2)


class EightGaussians(GaussianRing):
    """Eight normals with equal weights on a circle of radius 4/(8√2), σ = 0.5/(8√2): Yu, section 6,
    as the paper's notebook defines it. Its entropy is −1.915 bits.

    >>> round(EightGaussians().entropy / math.log(2), 3)
    -1.915
    """

    name = "8 Gaussians"

    def __init__(self) -> None:
        super().__init__(8, radius=4 / _UNIT, deviation=0.5 / _UNIT)

    def __repr__(self) -> str:
        return "EightGaussians()"
