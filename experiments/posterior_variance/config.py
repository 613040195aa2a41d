"""What a run of the experiment is, and nothing it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.settings import changed

__all__ = ["Config", "default_config"]


@dataclass(frozen=True)
class Config:
    """Settings of one run: equal settings, equal run folder.

    The defaults are Fyffe's, section 7: four layers of 200, Adam at 1e-3, batch 300, 200
    epochs, a two-dimensional latent space; Glorot-uniform weights and zero biases. The log evidence
    is that of the first ``evidence_data`` test images; of two latents also on a grid of
    ``evidence_cells`` a latent.
    """

    data: str = "mnist"
    seeds: int = 5
    epochs: int = 200
    latent: int = 2
    hidden: tuple[int, ...] = (200, 200, 200, 200)
    batch_size: int = 300
    learning_rate: float = 1e-3
    elbo_samples: int = 50
    evidence_samples: int = 5_000
    evidence_data: int = 2_000
    evidence_cells: int = 768
    device: str = "cpu"

    @property
    def validate_every(self) -> int:
        """Epochs between two points of the held-out curve: some 25 points a run."""
        return max(1, self.epochs // 25)


# The digits are a fortieth of MNIST in number and a twelfth in size.
_DEFAULTS = {
    "mnist": Config(),
    "digits": Config(
        data="digits",
        seeds=3,
        epochs=150,
        hidden=(100, 100),
        batch_size=50,
        evidence_samples=500,
        evidence_cells=512,
    ),
}
_QUICK: dict[str, Any] = {
    "seeds": 2,
    "epochs": 5,
    "elbo_samples": 5,
    "evidence_samples": 50,
    "evidence_cells": 128,
}


def default_config(data: str, *, quick: bool = False, **given: Any) -> Config:
    """The settings for a data set; what is given (not ``None``) replaces them."""
    return changed(_DEFAULTS[data], _QUICK if quick else {}, **given)
