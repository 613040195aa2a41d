"""What a run of the experiment is, and nothing it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.settings import changed

__all__ = ["Config", "default_config"]


@dataclass(frozen=True)
class Config:
    """Settings of one run: equal settings, equal run folder.

    The networks, the optimizer and the batch are Fyffe's, section 7; his 200 and 400 epochs are
    fewer here, which two cores can carry; ``default_config(full=True)`` has them.

    Args:
        data: ``"mnist"``, ``"digits"``, or ``"toy"``, two-dimensional, for the equations alone.
        studies: by name.
        wide: latents of the studies of likelihoods; those for scatter plots have two.
        epochs: of most runs.
        start_epochs: of the study of what encoders start with.
        seeds: of that study, and of BAGGINS without scaling.
        scales: λ, what the data are multiplied by.
        rounding_scales: more of them for BAGGINS: powers of 2 round alike, and change no digit.
        taus: τ of BAGGINS.
        tau: the one that is used where it is not varied.
        deviations: σ of the posterior.
        factors: hard-coded into encoder and decoder.
        hidden, batch_size, learning_rate: of all.
        elbo_samples, evidence_samples: latents a datum for the bound and the log evidence.
        evidence_cells: a latent, of the grid for the log evidence of two.
        determinant_steps: of the descents to eq. 19's minimum.
        checked: held-out data for the equations.
        check_latent: their VAE's latents.
    """

    data: str = "mnist"
    studies: tuple[str, ...] = ("scales", "taus", "deviations", "start", "equations")
    wide: int = 100
    epochs: int = 100
    start_epochs: int = 40
    seeds: int = 3
    scales: tuple[float, ...] = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
    rounding_scales: tuple[float, ...] = (1 / 3, 3.0)
    taus: tuple[float, ...] = (1 / 20, 1 / 5, 1.0, 5.0)
    tau: float = 1 / 5
    deviations: tuple[float, ...] = (0.1, 1.0, 10.0)
    factors: tuple[float, ...] = (0.1, 1.0, 10.0)
    hidden: tuple[int, ...] = (200, 200, 200, 200)
    batch_size: int = 300
    learning_rate: float = 1e-3
    elbo_samples: int = 50
    evidence_samples: int = 5_000
    evidence_cells: int = 1_024
    determinant_steps: int = 5_000
    checked: int = 1_000
    check_latent: int = 16
    device: str = "cpu"


_DIGITS: dict[str, Any] = {"hidden": (100, 100), "batch_size": 50, "wide": 20, "check_latent": 8}
_TOY: dict[str, Any] = {
    "studies": ("equations",),
    "hidden": (50, 50),
    "batch_size": 100,
    "check_latent": 1,
}
_OF_DATA = {"digits": _DIGITS, "toy": _TOY}
_FULL: dict[str, Any] = {"epochs": 400, "start_epochs": 200}
_QUICK: dict[str, Any] = {
    "epochs": 2,
    "start_epochs": 2,
    "seeds": 1,
    "scales": (1 / 4, 1.0),
    "rounding_scales": (3.0,),
    "taus": (1 / 5,),
    "deviations": (1.0,),
    "factors": (1.0,),
    "hidden": (20,),
    "wide": 4,
    "elbo_samples": 2,
    "evidence_samples": 20,
    "evidence_cells": 64,
    "determinant_steps": 500,
    "checked": 20,
    "check_latent": 1,
}


def default_config(
    data: str = "mnist", *, quick: bool = False, full: bool = False, **given: Any
) -> Config:
    """The settings for a data set; what is given (not ``None``) replaces them."""
    own, short = _OF_DATA.get(data, {}), _QUICK if quick else {}
    return changed(Config(data=data), own, _FULL if full else {}, short, **given)
