from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["inner_uniform"]


def inner_uniform(shape: torch.Size, like: Tensor) -> Tensor:
    """Uniform numbers strictly inside (0, 1), of the dtype and on the device of ``like``.

    ``torch.rand`` gives multiples of ε/2, a rounding below 1. Its 0 stands for all below the first
    of them, and is their middle here: the least number of the dtype would make it an outlier, 87
    scales from a logistic's centre.

    >>> inner_uniform(torch.Size([2]), torch.zeros(())).shape
    torch.Size([2])
    """
    eps = torch.finfo(like.dtype).eps
    return torch.rand(shape, dtype=like.dtype, device=like.device).clamp(eps / 4, 1 - eps / 2)
