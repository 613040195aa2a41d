from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from pyro_vae._errors import ShapeError
from pyro_vae.nn.initialisation import Initialisation, glorot_uniform

__all__ = ["ConvDecoder", "ConvEncoder", "LeadingShape"]


class LeadingShape(nn.Module):
    """Lets a network that takes [batch, *event] take any leading shape, e.g. [particles, batch].

    Convolutions know one batch dimension only; this flattens the leading shape and restores it.

    Args:
        network: takes [batch, *event].
        event_dim: how many dimensions one input has (3 for an image with channels, 1 for z).

    >>> import torch
    >>> LeadingShape(nn.Conv2d(1, 8, 3), 3)(torch.zeros(2, 5, 1, 8, 8)).shape
    torch.Size([2, 5, 8, 6, 6])
    """

    def __init__(self, network: nn.Module, event_dim: int) -> None:
        super().__init__()
        self.network = network
        self.event_dim = event_dim

    def forward(self, x: Tensor) -> Tensor:
        leading = x.shape[: x.dim() - self.event_dim]
        out = self.network(x.reshape(-1, *x.shape[len(leading) :]))
        return out.reshape(*leading, *out.shape[1:])


class ConvEncoder(nn.Module):
    """Images to features: convolutions of stride 2 that double the channels, then a linear layer.

    Args:
        image_shape: channels, height, width; height and width divisible by 2^depth.
        out_features: the size of the output's last dimension.
        channels: channels after the first convolution.
        depth: how many convolutions; each halves height and width.
        activation: makes the activation that follows each convolution.
        initialisation: how weights start.

    Shapes: [..., channels, height, width] → [..., out_features].

    Raises:
        ShapeError: for a height or width that cannot be halved ``depth`` times; when called, for
            images of another shape.

    >>> import torch
    >>> ConvEncoder((1, 28, 28), 4)(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        out_features: int,
        *,
        channels: int = 32,
        depth: int = 2,
        activation: Callable[[], nn.Module] = nn.ReLU,
        initialisation: Initialisation = glorot_uniform,
    ) -> None:
        super().__init__()
        self.image_shape, self.out_features = image_shape, out_features
        widths, inner = _pyramid(image_shape, channels, depth)
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Conv2d(width_in, width_out, 4, stride=2, padding=1), activation()]
        head = nn.Linear(math.prod(inner), out_features)
        self.network = LeadingShape(nn.Sequential(*layers, nn.Flatten(), head), 3)
        self.apply(initialisation)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-3:] != self.image_shape:
            expected = "×".join(map(str, self.image_shape))
            raise ShapeError(
                f"ConvEncoder: expected images of {expected} (channels, height, width); got data "
                f"of shape {list(x.shape)}. Reshape the data or change image_shape."
            )
        return self.network(x)


class ConvDecoder(nn.Module):
    """The mirror of :class:`ConvEncoder`: latents to images.

    Args:
        in_features: the size of the latents.
        image_shape: channels, height, width; height and width divisible by 2^depth.
        channels: channels before the last transposed convolution.
        depth: how many transposed convolutions; each doubles height and width.
        activation: makes the activation between layers.
        initialisation: how weights start.

    Shapes: [..., in_features] → [..., channels, height, width].

    Raises:
        ShapeError: for a height or width that cannot be halved ``depth`` times.

    >>> import torch
    >>> ConvDecoder(2, (1, 28, 28))(torch.zeros(10, 5, 2)).shape
    torch.Size([10, 5, 1, 28, 28])
    """

    def __init__(
        self,
        in_features: int,
        image_shape: tuple[int, int, int],
        *,
        channels: int = 32,
        depth: int = 2,
        activation: Callable[[], nn.Module] = nn.ReLU,
        initialisation: Initialisation = glorot_uniform,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        widths, inner = _pyramid(image_shape, channels, depth)
        widths.reverse()
        layers = [nn.Linear(in_features, math.prod(inner)), activation(), nn.Unflatten(1, inner)]
        for width_in, width_out in pairwise(widths):
            transposed = nn.ConvTranspose2d(width_in, width_out, 4, stride=2, padding=1)
            layers += [transposed, activation()]
        self.network = LeadingShape(nn.Sequential(*layers[:-1]), 1)
        self.apply(initialisation)

    def forward(self, z: Tensor) -> Tensor:
        return self.network(z)


def _pyramid(
    image_shape: tuple[int, int, int], channels: int, depth: int
) -> tuple[list[int], tuple[int, int, int]]:
    """Channels of each level, and the shape of the innermost one."""
    first, height, width = image_shape
    scale = 2**depth
    if height % scale or width % scale or min(height, width) < scale:
        raise ShapeError(
            f"convolutions: expected height and width divisible by 2^depth = {scale}; got "
            f"{height}×{width}. Pad the images or take a smaller depth."
        )
    widths = [first, *(channels * 2**level for level in range(depth))]
    return widths, (widths[-1], height // scale, width // scale)
