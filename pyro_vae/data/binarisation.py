"""How grey values become the zeros and ones that a Bernoulli likelihood takes.

A value `p` in [0, 1] is the probability that its pixel is on. Numbers under different binarisations
cannot be compared: `Dynamic` draws again at each use and so cannot be memorised; `Fixed` is one
draw for good.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.data._errors import mismatch


class Binarisation(ABC):
    """What is done to the values of examples: once when they are made, and again at each use.

    Values keep their shape and device in both steps, and their dtype, except that stored values may
    be bytes (uint8), which stand for byte / 255 (`as_floats`): `draw` gives floats in any case.
    """

    @abstractmethod
    def prepare(self, values: Tensor) -> Tensor:
        """The values `[N, *event]` to store, computed once when the examples are made."""

    @abstractmethod
    def draw(self, values: Tensor) -> Tensor:
        """The values `[batch, *event]` to train on, from stored ones, computed at each use."""


@dataclass(frozen=True)
class Grey(Binarisation):
    """The values as they are, on any support; bytes stay bytes until they are drawn.

    >>> import torch
    >>> from pyro_vae.data import Grey
    >>> Grey().draw(torch.tensor([0.25, 3.0]))
    tensor([0.2500, 3.0000])
    >>> Grey().draw(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """

    def prepare(self, values: Tensor) -> Tensor:
        return values

    def draw(self, values: Tensor) -> Tensor:
        return as_floats(values)


# The default of the loaders: one immutable object that all of them share.
GREY = Grey()

# Values that were drawn uniformly with the same small seed would otherwise be compared with the
# very numbers that they are, and give no single one.
_APART = 0x5EED_0F_F1ED


@dataclass(frozen=True)
class Dynamic(Binarisation):
    """Bernoulli draws with the grey values as probabilities, drawn anew at each use.

    The draws come from torch's global random state on the device of the values, so that restoring
    this state resumes training bit for bit. Source: Salakhutdinov and Murray, 2008; "dynamic" as in
    Burda et al., 2016.

    Raises:
        DataError: in `prepare`, when a value is outside [0, 1].

    >>> import torch
    >>> from pyro_vae.data import Dynamic
    >>> _ = torch.manual_seed(0)
    >>> grey = torch.tensor([0.0, 0.5, 0.5, 0.5, 1.0])
    >>> Dynamic().draw(grey), Dynamic().draw(grey)
    (tensor([0., 0., 1., 1., 1.]), tensor([0., 1., 0., 1., 1.]))
    """

    def prepare(self, values: Tensor) -> Tensor:
        return _unit_interval(values, self)

    def draw(self, values: Tensor) -> Tensor:
        return torch.bernoulli(as_floats(values))


@dataclass(frozen=True)
class Fixed(Binarisation):
    """Bernoulli draws with the grey values as probabilities, drawn once for good.

    The draw has a generator of its own on the CPU: the same `seed` gives the same images on every
    device and leaves torch's global random state alone. It is a draw of this library, not the
    published fixed binarisation of MNIST. Bytes become float32.

    Raises:
        DataError: in `prepare`, when a value is outside [0, 1].

    >>> import torch
    >>> from pyro_vae.data import Fixed
    >>> Fixed(seed=0).prepare(torch.tensor([0.0, 0.5, 0.5, 0.5, 1.0]))
    tensor([0., 0., 0., 0., 1.])
    """

    seed: int = 0

    def prepare(self, values: Tensor) -> Tensor:
        probabilities = as_floats(_unit_interval(values, self)).cpu()
        generator = torch.Generator().manual_seed(self.seed + _APART)
        return torch.bernoulli(probabilities, generator=generator).to(values.device)

    def draw(self, values: Tensor) -> Tensor:
        return values


@dataclass(frozen=True)
class Threshold(Binarisation):
    """One where the grey value is above `level`, zero elsewhere; `level` itself gives zero.

    Bytes become float32.

    Raises:
        ValueError: when `level` is outside [0, 1), where every image would be blank.
        DataError: in `prepare`, when a value is outside [0, 1].

    >>> import torch
    >>> from pyro_vae.data import Threshold
    >>> Threshold(0.5).prepare(torch.tensor([0.2, 0.5, 0.8]))
    tensor([0., 0., 1.])
    """

    level: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.level < 1:
            raise ValueError(
                f"Threshold: expected a level in [0, 1); got {self.level}. "
                "Scale the level like the values, which are in [0, 1]."
            )

    def prepare(self, values: Tensor) -> Tensor:
        grey = as_floats(_unit_interval(values, self))
        return (grey > self.level).to(grey.dtype)

    def draw(self, values: Tensor) -> Tensor:
        return values


def as_floats(values: Tensor) -> Tensor:
    """Bytes (uint8) as float32 in [0, 1], byte / 255; floating values as they are."""
    return values.to(torch.float32) / 255 if values.dtype == torch.uint8 else values


def _unit_interval(values: Tensor, binarisation: Binarisation) -> Tensor:
    """The values, once checked to be probabilities, as every byte is."""
    if values.dtype == torch.uint8:
        return values
    low, high = (bound.item() for bound in values.aminmax())
    if low < 0 or high > 1:
        raise mismatch(
            f"values in [0, 1] for {binarisation}",
            f"values in [{low:g}, {high:g}]",
            "Rescale the values, or keep them as they are with Grey().",
        )
    return values
