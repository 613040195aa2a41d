"""A named pair of training and test examples."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyro_vae.data._errors import mismatch
from pyro_vae.data.examples import Examples


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Training and test examples of one event shape.

    Args:
        name: what figures and tables call it.
        train: the examples to fit.
        test: the examples held out.
        image_shape: rows and columns of the image that a flat event holds; None when events are no
            grey images.

    Raises:
        DataError: when the event shapes of the two differ, or an event does not hold one value a
            pixel.

    >>> from pyro_vae.data import Dynamic, digits
    >>> digits(Dynamic())
    Dataset('digits', 1437 train + 360 test of shape (64,), images 8×8, Dynamic(), cpu)
    """

    name: str
    train: Examples
    test: Examples
    image_shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _check_events(self.train.event_shape, self.test.event_shape)
        if self.image_shape is not None:
            _check_image(self.train.event_shape, self.image_shape)

    def __repr__(self) -> str:
        sizes = f"{len(self.train)} train + {len(self.test)} test"
        images = "" if self.image_shape is None else "images {}×{}, ".format(*self.image_shape)
        shape, train = tuple(self.train.event_shape), self.train
        description = f"{sizes} of shape {shape}, {images}{train.binarisation}, {train.device}"
        return f"Dataset({self.name!r}, {description})"

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on `device`."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def divided(
    name: str,
    whole: Examples,
    train: Tensor | slice,
    test: Tensor | slice,
    image_shape: tuple[int, int] | None = None,
) -> Dataset:
    """The data set of two selections of the same examples.

    The whole is prepared at once, so that a `Fixed` draw is independent between training and test
    examples and does not depend on the split.
    """
    return Dataset(name, whole.take(train), whole.take(test), image_shape)


def check_fraction(test_fraction: float) -> None:
    """Raise ValueError for a `test_fraction` outside (0, 1)."""
    if not 0 < test_fraction < 1:
        raise ValueError(
            f"test_fraction: expected a number in (0, 1); got {test_fraction}. "
            "It is the part of the examples held out for testing, such as 0.1."
        )


def shuffled(size: int, test_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """The rows to train on and the rows to hold out, shuffled by `seed`: at least one of each.

    Raises:
        DataError: when `test_fraction` leaves nothing to train on.
    """
    held_out = max(1, round(size * test_fraction))
    if held_out >= size:
        raise mismatch(
            f"examples for both parts of a split with test_fraction={test_fraction}",
            f"{size} in all",
            "Give more examples or another test_fraction.",
        )
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    return order[:-held_out], order[-held_out:]


def _check_events(train: torch.Size, test: torch.Size) -> None:
    if train != test:
        raise mismatch(
            f"test examples of the shape of the training examples, {tuple(train)}",
            tuple(test),
            "Preprocess both in the same way.",
        )


def _check_image(event: torch.Size, image_shape: tuple[int, int]) -> None:
    if tuple(event) != (math.prod(image_shape),):
        raise mismatch(
            f"flat examples of {math.prod(image_shape)} values for images of shape {image_shape}",
            f"examples of shape {tuple(event)}",
            "Correct image_shape, or leave it out.",
        )
