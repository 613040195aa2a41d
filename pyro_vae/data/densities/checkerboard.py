from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_vae.data.densities._density import Density

__all__ = ["Checkerboard"]


class Checkerboard(Density):
    """Uniform on the eight dark cells of a 4×4 board on [−½, ½)²: Yu, section 6, as the paper's
    notebook defines it. Its entropy is −1 bit.

    A cell is dark where the numbers of its row and column, from 0, have an even sum.

    >>> Checkerboard().entropy / math.log(2)
    -1.0
    """

    name = "checkerboard"
    entropy = -math.log(2)  # of 8 cells with area 1/16

    def sample(
        self,
        count: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        row = torch.randint(4, (count,), device=device)
        column = 2 * torch.randint(2, (count,), device=device) + row % 2
        cell = torch.stack([column, row], -1).to(dtype)
        # Two roundings below 1: the next larger would be rounded into the next cell, or off it.
        largest = 1 - 2 * torch.finfo(dtype).eps
        within = torch.rand(count, 2, dtype=dtype, device=device).clamp(max=largest)
        return (cell + within) / 4 - 0.5

    def log_prob(self, x: Tensor) -> Tensor:
        cell = ((x + 0.5) * 4).floor()
        inside = ((cell >= 0) & (cell < 4)).all(-1) & (cell.sum(-1) % 2 == 0)
        return torch.where(inside, math.log(2), -math.inf).to(x.dtype)
