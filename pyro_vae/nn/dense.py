from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pyro_vae._errors import ShapeError
from pyro_vae.nn.initialisation import Initialisation, torch_default

__all__ = ["DenseBlock"]


class DenseBlock(nn.Module):
    """Layers each of which sees the input and all layers before it, then a linear one:

    .. math:: h_i = a(W_i [x, h_1, …, h_{i-1}] + b_i)

    (Huang et al., 2017). The network of Yu, section 6, has depth 6, growth 1024 and weight norm,
    there on the last layer as well.

    Args:
        in_features: the size of the input's last dimension.
        growth: the size of each hidden layer.
        depth: how many there are.
        out_features: the size of the output's last dimension.
        activation: makes the activation that follows each hidden layer.
        normalised: whether hidden weights have weight norm (Salimans and Kingma, 2016).
        initialisation: how weights start.

    Shapes: [..., in_features] → [..., out_features].

    Raises:
        ShapeError: for a size below 1.

    >>> DenseBlock(2, growth=64, depth=3, out_features=4)(torch.zeros(10, 2)).shape
    torch.Size([10, 4])
    """

    def __init__(
        self,
        in_features: int,
        *,
        growth: int,
        depth: int,
        out_features: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        normalised: bool = True,
        initialisation: Initialisation = torch_default,
    ) -> None:
        super().__init__()
        sizes = [in_features, growth, depth, out_features]
        if min(sizes) < 1:
            raise ShapeError(
                "DenseBlock: expected in_features, growth, depth and out_features ≥ 1; got "
                f"{sizes}."
            )
        self.in_features, self.out_features = in_features, out_features
        hidden = [nn.Linear(in_features + i * growth, growth) for i in range(depth)]
        self.hidden = nn.ModuleList(hidden)
        self.activations = nn.ModuleList(activation() for _ in range(depth))
        self.last = nn.Linear(in_features + depth * growth, out_features)
        self.apply(initialisation)
        if normalised:
            for layer in hidden:
                weight_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer, activation in zip(self.hidden, self.activations, strict=True):
            x = torch.cat([x, activation(layer(x))], -1)
        return self.last(x)
