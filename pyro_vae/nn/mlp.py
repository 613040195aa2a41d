from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from pyro_vae._errors import ShapeError
from pyro_vae.nn.initialisation import Initialisation, glorot_uniform

__all__ = ["MLP"]


class MLP(nn.Module):
    """A multi-layer perceptron: linear layers with an activation between them.

    Args:
        in_features: the size of the input's last dimension.
        hidden_features: the size of each hidden layer, e.g. ``[200] * 4``.
        out_features: the size of the output's last dimension.
        activation: makes the activation that follows each hidden layer.
        initialisation: how weights start.

    Shapes: [..., in_features] → [..., out_features].

    Raises:
        ShapeError: for a size below 1.

    >>> import torch
    >>> MLP(784, [200] * 4, 2)(torch.zeros(10, 300, 784)).shape
    torch.Size([10, 300, 2])
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: Sequence[int],
        out_features: int,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        initialisation: Initialisation = glorot_uniform,
    ) -> None:
        super().__init__()
        sizes = [in_features, *hidden_features, out_features]
        if min(sizes) < 1:
            raise ShapeError(f"MLP: expected layer sizes ≥ 1; got {sizes}.")
        self.in_features, self.out_features = in_features, out_features
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), activation()]
        self.layers = nn.Sequential(*layers[:-1])
        self.apply(initialisation)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
