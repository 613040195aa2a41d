"""Parameters and optimizer state side by side in one tensor each: one kernel updates them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Layout"]

_ALIGN = 16  # elements: matrix products want their operands at a cache line's start


@dataclass(frozen=True)
class Layout:
    """Where tensors of one dtype and device lie in a flat one."""

    shapes: tuple[torch.Size, ...]
    starts: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Layout:
        """For tensors of these shapes."""
        starts, size = [], 0
        for tensor in tensors:
            starts.append(-(-size // _ALIGN) * _ALIGN)
            size = starts[-1] + tensor.numel()
        return cls(tuple(tensor.shape for tensor in tensors), tuple(starts), size)

    def views(self, flat: Tensor) -> list[Tensor]:
        """The tensors in ``flat``."""
        return [
            flat[start : start + shape.numel()].view(shape)
            for shape, start in zip(self.shapes, self.starts, strict=True)
        ]

    def flatten(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tensors one after another in a new tensor, with zeros between."""
        ends = (*self.starts[1:], self.size)
        parts = []
        for tensor, start, end in zip(tensors, self.starts, ends, strict=True):
            parts.append(tensor.reshape(-1))
            if gap := end - start - tensor.numel():
                parts.append(tensor.new_zeros(gap))
        return torch.cat(parts)

    @torch.no_grad()
    def gather(self, tensors: Sequence[Tensor]) -> Tensor:
        """:meth:`flatten`; then each tensor's storage is its part of the flat one."""
        flat = self.flatten([tensor.detach() for tensor in tensors])
        for tensor, view in zip(tensors, self.views(flat), strict=True):
            tensor.data = view
        return flat
