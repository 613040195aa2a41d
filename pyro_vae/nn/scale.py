from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Scale"]


class Scale(nn.Module):
    """x ↦ factor · x, fixed: before an encoder and after a decoder, data in another unit.

    >>> import torch
    >>> encoder = nn.Sequential(Scale(1 / 255), nn.Linear(784, 4))
    >>> encoder(torch.full((10, 784), 255.0)).shape
    torch.Size([10, 4])
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x

    def extra_repr(self) -> str:
        return f"{self.factor:g}"
