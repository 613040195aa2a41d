"""What a run of the experiment is, and nothing it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.settings import changed
from pyro_vae.data.densities import DENSITIES

__all__ = ["Config", "default_config"]


@dataclass(frozen=True)
class Config:
    """Settings of one run: equal settings, equal run folder.

    Args:
        data: the images of the channel's VAE: ``"digits"``.
        densities: of the flows, by name.
        flow_steps, couplings, width: of the flows.
        epsilons: noises of the Σ-VAE, falling.
        points, draws: data, and latents a datum, of the Σ-VAE's bound.
        latent, hidden, epochs, batch_size: of the images' VAE.
    """

    data: str = "digits"
    densities: tuple[str, ...] = tuple(DENSITIES)
    flow_steps: int = 5_000
    couplings: int = 8
    width: int = 64
    epsilons: tuple[float, ...] = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
    points: int = 2_000
    draws: int = 200
    latent: int = 20
    hidden: tuple[int, ...] = (200, 200)
    epochs: int = 300
    batch_size: int = 50
    device: str = "cpu"


_QUICK: dict[str, Any] = {
    "densities": ("8gaussians",),
    "flow_steps": 100,
    "couplings": 2,
    "width": 8,
    "epsilons": (1e-2, 1e-3),
    "points": 50,
    "draws": 20,
    "latent": 4,
    "hidden": (20,),
    "epochs": 3,
}


def default_config(*, quick: bool = False, **given: Any) -> Config:
    """The settings; what is given (not ``None``) replaces them."""
    return changed(Config(), _QUICK if quick else {}, **given)
