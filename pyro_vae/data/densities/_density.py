from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pyro_vae.data.binarisation import Binarisation
from pyro_vae.data.examples import Examples

__all__ = ["Density"]


class Density(ABC):
    """A density on the plane from which data are drawn without end, known exactly.

    A density implements ``sample`` and ``log_prob``. The points of those with a name on the command
    line lie in about [−½, ½]²; one of another size says where its mass is, for :attr:`entropy`.
    """

    name: str
    """What figures and tables call it."""
    grid_half_width: float = 0.75
    """Beyond this there is no mass to speak of: where :attr:`entropy` stops integrating."""
    grid_step: float = 1 / 128
    """The step of that integration."""

    @abstractmethod
    def sample(
        self,
        count: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Points drawn from it, [count, 2], with torch's global random state."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, [...], for points [..., 2]."""

    @cached_property
    def entropy(self) -> float:
        """H = −∫ p log p in nats: the least negative log-likelihood any model can have.

        By the trapezoidal rule on a grid, whose error falls faster than any power of its step for
        smooth densities.
        """
        axis = torch.arange(
            -self.grid_half_width, self.grid_half_width, self.grid_step, dtype=torch.float64
        )
        total = 0.0
        for row in axis:  # one line of the plane at a time bounds the memory
            log_p = self.log_prob(torch.stack([row.expand_as(axis), axis], -1))
            total -= (log_p.exp() * log_p).nan_to_num(0.0).sum().item()
        return total * self.grid_step**2

    def stream(self, count: int) -> Examples:
        """Examples that are drawn anew at each use, on the device where they are used.

        Args:
            count: how many make an epoch.

        >>> from pyro_vae.data.densities import Checkerboard
        >>> examples = Checkerboard().stream(1000)
        >>> bool((examples.batch(slice(2)) == examples.batch(slice(2))).any())
        False
        """
        return Examples(torch.zeros(count, 2), binarisation=_Fresh(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@dataclass(frozen=True)
class _Fresh(Binarisation):
    """Points of a density in the place of whatever is stored."""

    density: Density

    def prepare(self, values: Tensor) -> Tensor:
        return values

    def draw(self, values: Tensor) -> Tensor:
        return self.density.sample(len(values), dtype=values.dtype, device=values.device)
