"""What a run of the experiment is, and nothing it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.settings import changed

__all__ = ["Config", "default_config"]


@dataclass(frozen=True)
class Config:
    """Settings of one run: equal settings, equal run folder.

    Args:
        data: the images whose scale is changed.
        scales: what the images are multiplied by.
        latent, hidden, epochs, batch_size: of the images' VAEs.
        components: the mixtures' numbers of normals.
        steps, growth: of the mixtures' VAEs.
        points, evidence_samples: of their evaluation.
    """

    data: str = "digits"
    scales: tuple[float, ...] = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
    latent: int = 20
    hidden: tuple[int, ...] = (200, 200)
    epochs: int = 300
    batch_size: int = 50
    components: tuple[int, ...] = (1, 2, 4, 8, 16)
    steps: int = 20_000
    growth: int = 64
    points: int = 5_000
    evidence_samples: int = 1_000
    device: str = "cpu"


# MNIST has forty times as many images.
_DEFAULTS = {"digits": Config(), "mnist": Config(data="mnist", epochs=20, batch_size=100)}
_QUICK: dict[str, Any] = {
    "scales": (1 / 4, 1.0),
    "latent": 4,
    "hidden": (20,),
    "epochs": 3,
    "components": (2,),
    "steps": 120,
    "growth": 8,
    "points": 200,
    "evidence_samples": 50,
}


def default_config(data: str = "digits", *, quick: bool = False, **given: Any) -> Config:
    """The settings for a data set; what is given (not ``None``) replaces them."""
    return changed(_DEFAULTS[data], _QUICK if quick else {}, **given)
