"""What a run of the experiment is, and nothing it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.posterior_audit.methods import GUIDES, OBJECTIVES
from experiments.settings import changed

__all__ = ["Config", "default_config"]


@dataclass(frozen=True)
class Config:
    """Settings of one run: equal settings, equal run folder.

    Args:
        data: ``"mnist"`` or ``"digits"``.
        guides, objectives: by name; each guide is trained by each objective.
        seed: of the weights and the order of the data; what is drawn for an audit has its own.
        latent: dimensions of z; two can be drawn.
        epochs, batch_size, learning_rate, hidden: of training, alike for all.
        bound_samples: latents an image for the bound.
        weight_samples: for k̂ and the smoothed log p(x) of all test images.
        evidence_samples: for log p(x) of ``few`` of them, by importance sampling, and smoothed.
        few: images that are looked at closely: as many of the test set, and for the gaps as many
            of the training set.
        chains, temperatures: of annealed importance sampling.
        cells: of the first grid of quadrature, a latent.
        simulated: images that the bounds from both sides are of.
        steps: of the search for the best q of each image.
        simulations, draws: of calibration.
        replicates: of the predictive check.
        aggregate_draws: at which the aggregate posterior is evaluated.
        nuts_draws, nuts_chains: of each image that NUTS is run on.
    """

    data: str = "mnist"
    guides: tuple[str, ...] = tuple(GUIDES)
    objectives: tuple[str, ...] = tuple(OBJECTIVES)
    seed: int = 0
    latent: int = 2
    epochs: int = 50
    hidden: tuple[int, ...] = (200, 200, 200, 200)
    batch_size: int = 300
    learning_rate: float = 1e-3
    bound_samples: int = 50
    weight_samples: int = 1_000
    evidence_samples: int = 5_000
    few: int = 100
    chains: int = 16
    temperatures: int = 1_000
    cells: int = 128
    simulated: int = 40
    steps: int = 500
    simulations: int = 1_000
    draws: int = 99
    replicates: int = 200
    aggregate_draws: int = 500
    nuts_draws: int = 500
    nuts_chains: int = 4
    device: str = "cpu"


_DIGITS: dict[str, Any] = {"hidden": (100, 100), "batch_size": 50, "epochs": 150}
_QUICK: dict[str, Any] = {
    "epochs": 2,
    "hidden": (20,),
    "bound_samples": 2,
    "weight_samples": 50,
    "evidence_samples": 100,
    "few": 6,
    "chains": 4,
    "temperatures": 10,
    "cells": 24,
    "simulated": 4,
    "steps": 10,
    "simulations": 100,
    "draws": 19,
    "replicates": 20,
    "aggregate_draws": 20,
    "nuts_draws": 8,
    "nuts_chains": 2,
}


def default_config(data: str = "mnist", *, quick: bool = False, **given: Any) -> Config:
    """The settings for a data set; what is given (not ``None``) replaces them."""
    own = _DIGITS if data == "digits" else {}
    return changed(Config(data=data), own, _QUICK if quick else {}, **given)
