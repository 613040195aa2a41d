"""The arrays that every contender is given: the data, and the weights to start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.speed.cases import Case, networks

__all__ = ["Inputs", "make_inputs"]

_COUNT = 10_000  # data that batches are drawn from: 31 MB of images

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Inputs:
    """Data [data, data_dim], and weights [outputs, inputs] and biases by network and layer."""

    data: Array
    weights: dict[str, Array]

    def layers(self, network: str) -> Iterator[tuple[Array, Array]]:
        """Weight and bias of each layer of a network, the first one first."""
        number = 0
        while f"{network}.{number}.weight" in self.weights:
            layer = f"{network}.{number}"
            yield self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]
            number += 1

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file."""
        np.savez(path, data=self.data, **self.weights)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Inputs:
        """Read what :meth:`save` wrote."""
        with np.load(path) as stored:
            arrays = dict(stored)
        return cls(arrays.pop("data"), arrays)


def make_inputs(case: Case, images: Array | None) -> Inputs:
    """A case's data and starting weights, the same at every call.

    Args:
        case: whose sizes are taken.
        images: grey values [images, 784] for a case of pixels; ``None`` for random ones.
    """
    rng = np.random.default_rng(0)
    if not case.pixels:
        data = _ring(rng)
    else:
        data = _dark_noise(rng, case.data_dim) if images is None else images[:_COUNT]
    return Inputs(data, _weights(case, rng))


def _ring(rng: np.random.Generator) -> Array:
    """Eight normals on a circle, [data, 2]."""
    angle = 2 * np.pi / 8 * rng.integers(8, size=_COUNT)
    centres = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (2 * centres + 0.2 * rng.normal(size=(_COUNT, 2))).astype(np.float32)


def _dark_noise(rng: np.random.Generator, pixels: int) -> Array:
    """Grey values in [0, 1], dark for the most part as MNIST's are, [data, pixels]."""
    return rng.random((_COUNT, pixels), np.float32) ** 4


def _weights(case: Case, rng: np.random.Generator) -> dict[str, Array]:
    """Glorot-uniform weights, zero biases."""
    found: dict[str, Array] = {}
    for name, sizes in networks(case).items():
        for number, (inputs, outputs) in enumerate(pairwise(sizes)):
            bound = np.sqrt(6 / (inputs + outputs))
            weight = rng.uniform(-bound, bound, (outputs, inputs))
            found[f"{name}.{number}.weight"] = weight.astype(np.float32)
            found[f"{name}.{number}.bias"] = np.zeros(outputs, np.float32)
    return found
