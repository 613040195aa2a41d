"""The data sets: images, and a bent plane whose every part is known."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pyro_vae import data as datasets
from pyro_vae.data import Dataset, Examples

__all__ = ["load", "scaled"]

_TRAIN, _TEST = 10_000, 1_000
_NOISE = 0.1  # the deviation that "T = I/100" has


def load(name: str, data_dir: str | None) -> Dataset:
    """``"mnist"``, ``"digits"`` or ``"toy"``."""
    if name == "toy":
        return _toy()
    return datasets.digits() if name == "digits" else datasets.mnist(data_dir)


def _toy() -> Dataset:
    """Points x = (z₁, z₂ + z₁²/2) + noise with z ~ N(0, I): a plane bent so little that a decoder
    is all but linear within a posterior, in as many dimensions as latents have (eq. 27)."""
    generator = torch.Generator().manual_seed(0)

    def points(count: int) -> Tensor:
        z, noise = torch.randn(2, count, 2, generator=generator)
        bent = torch.stack([z[:, 0], z[:, 1] + z[:, 0].square() / 2], dim=1)
        return bent + _NOISE * noise

    return Dataset("toy", Examples(points(_TRAIN)), Examples(points(_TEST)))


def scaled(data: Dataset, scale: float) -> Dataset:
    """The data times λ."""
    if scale == 1.0:
        return data
    train, test = (replace(part, values=scale * part.values) for part in (data.train, data.test))
    return replace(data, train=train, test=test)
