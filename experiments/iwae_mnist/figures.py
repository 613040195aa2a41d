"""The experiment's figures, from saved results; nothing is trained here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from experiments.iwae_mnist.config import Config
from experiments.iwae_mnist.evaluate import KINDS, PARTICLES
from experiments.iwae_mnist.jobs import SNR_METHOD, folder_of
from pyro_vae import figures

__all__ = ["draw"]

_BOUNDS = (
    "What each method maximises, during training, a mean over each epoch: bounds with more "
    "particles inside the logarithm are tighter, whatever the model."
)
_SNR = (
    "After Rainforth et al. (2018) and Tucker et al. (2019): the signal-to-noise ratio of "
    f"gradients, the median over parameters. Encoder and decoder: at the trained {SNR_METHOD}, "
    "seed 0, on one batch. Linear pair: a linear VAE whose guide is somewhat wider than the "
    "posterior. Dashed: theory for large K, through each curve's first point — 1/√K for the "
    "encoder under IWAE, √K under DReG and for the decoder. Dotted: what so many gradients cannot "
    "tell from zero."
)
_RISING = {"IWAE": 0.5, "DReG": 0.5}
_ENCODER = {"IWAE": -0.5, "DReG": 0.5}
_THEORY = {"linear pair": _ENCODER, "encoder": _ENCODER, "decoder": _RISING}


def draw(config: Config, root: Path) -> dict[str, str]:
    """Draw every figure into ``root / "figures"``; name → caption."""
    drawn: dict[str, tuple[Figure, str]] = {}
    if config.epochs > 1:
        drawn["bounds.png"] = _bounds(config, root), _BOUNDS
    if SNR_METHOD in config.methods:
        drawn["signal_to_noise.png"] = _signal_to_noise(config, root), _SNR
    for name, (figure, _) in drawn.items():
        figures.save(figure, root / "figures" / name)
    return {name: caption for name, (_, caption) in drawn.items()}


def _bounds(config: Config, root: Path) -> Figure:
    curves = {
        method: np.stack(
            [folder_of(root, (method, seed)).arrays()["bound"] for seed in range(config.seeds)]
        )
        for method in config.methods
    }
    return figures.bound_during_training(curves, np.arange(1, config.epochs + 1))


def _signal_to_noise(config: Config, root: Path) -> Figure:
    found = folder_of(root, (SNR_METHOD, 0)).arrays()
    saved = {"linear pair": "linear", "encoder": "encoder", "decoder": "decoder"}
    panels = {
        title: {kind: found[f"{kind} {name}"] for kind in KINDS} for title, name in saved.items()
    }
    # The median size of the mean of R unit normals.
    floor = stats.norm.ppf(0.75) / math.sqrt(config.gradients)
    return figures.signal_to_noise(panels, np.array(PARTICLES), powers=_THEORY, floor=floor)
