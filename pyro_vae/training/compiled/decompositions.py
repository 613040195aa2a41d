"""Operations that the compiler has no code for, as ones that it fuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["DECOMPOSITIONS"]

aten = torch.ops.aten


def _others(v: Tensor, dim: int) -> list[int]:
    return [i for i in range(v.dim()) if i != dim]


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """w = g v/‖v‖, and ‖v‖ (Salimans and Kingma, 2016, eq. 2)."""
    norm = torch.linalg.vector_norm(v, dim=_others(v, dim), keepdim=True)
    return v * (g / norm), norm


def _weight_norm_backward(
    grad: Tensor, v: Tensor, g: Tensor, norm: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """The gradients for v and g (Salimans and Kingma, 2016, eq. 3)."""
    along = (grad * v).sum(_others(v, dim), keepdim=True) / norm
    return g / norm * (grad - v * (along / norm)), along


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten._weight_norm_interface.default: _weight_norm,
    aten._weight_norm_interface_backward.default: _weight_norm_backward,
}
"""Operation → the same in operations that are fused with their neighbours."""
