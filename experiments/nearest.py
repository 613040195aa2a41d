"""How far data are from other data."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["nearest"]


def nearest(x: Tensor, among: Tensor) -> Tensor:
    """The squared distance, a dimension, of each datum to the nearest of others.

    Args:
        x: the data, [n, *event].
        among: the others, [m, *event].

    Returns:
        [n].
    """
    x, among = x.flatten(1), among.flatten(1)
    return torch.cdist(x, among).amin(1).square() / x.shape[1]
