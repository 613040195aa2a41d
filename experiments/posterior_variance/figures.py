"""The experiment's figures, from saved results; nothing is trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.posterior_variance.config import Config
from experiments.posterior_variance.jobs import folder_of
from experiments.posterior_variance.methods import METHODS
from pyro_vae import figures

__all__ = ["PAPER", "draw"]

PAPER = {"Learned Σ": -136.5, "Constant Σ": -134.2, "BILBO": -134.3}
"""Fyffe, figure 5: MNIST, a two-dimensional latent space, nats an image."""

Arrays = dict[str, NDArray[Any]]


def draw(config: Config, root: Path, results: list[dict[str, Any]]) -> dict[str, str]:
    """Draw every figure that the run has data for into ``root / "figures"``; name → caption."""
    first = {method: folder_of(root, (method, 0)).arrays() for method in METHODS}
    drawn: dict[str, tuple[Figure, str]] = {}
    if len(_curve(results[0])) > 1:
        drawn["bound.png"] = _bound(results), _BOUND + _BAND * (config.seeds > 1)
    drawn["samples.png"] = _samples(first), _SAMPLES
    drawn["reconstructions.png"] = _reconstructions(first), _RECONSTRUCTIONS
    if config.latent == 2:
        drawn["posterior_means.png"] = _means(first, results), _MEANS
        if config.seeds > 1:
            drawn["learned_runs.png"] = _learned_runs(config, root, results), _RUNS
        drawn["posterior_variance.png"] = _variances(config, root), _VARIANCES
        drawn["manifold_learned.png"] = _manifold(first["Learned Σ"]), _MANIFOLD_LEARNED
        drawn["manifold_bilbo.png"] = _manifold(first["BILBO"]), _MANIFOLD_BILBO
    for name, (figure, _) in drawn.items():
        figures.save(figure, root / "figures" / name)
    return {name: caption for name, (_, caption) in drawn.items()}


_BOUND = (
    "After Fyffe, figure 4 (a, b): the bound on the test set during training, for all methods "
    "the ordinary ELBO, the floating prior's variance from the training set."
)
_BAND = " The line is the mean and the band the range over seeds."
_SAMPLES = "After figure 4 (c): means of p(x|z) at draws from each method's prior, seed 0."
_RECONSTRUCTIONS = "Test images, and the decoder's mean at the posterior's mean, seed 0."
_MEANS = "After figure 5: posterior means of the test set coloured by label, seed 0."
_RUNS = "After figure 2: the learned-variance method from different seeds."
_VARIANCES = (
    "After figure 3: learned posterior variances against posterior means, relative to the prior's "
    "variance (1); the axes hold 99.5 % of them."
)
_MANIFOLD_LEARNED = (
    "After figure 12, learned variance: images decoded over the prior's quantiles; posterior means "
    "(upper right) and one sample from each posterior (lower right)."
)
_MANIFOLD_BILBO = "After figure 13: the same for BILBO, Σ = I."


def _curve(result: dict[str, Any]) -> dict[int, float]:
    records = result["history"]
    return {r["epoch"]: r["validation"] for r in records if r["validation"] is not None}


def _bound(results: list[dict[str, Any]]) -> Figure:
    epochs = np.array(list(_curve(results[0])))
    curves = {
        method: np.array([list(_curve(r).values()) for r in results if r["method"] == method])
        for method in METHODS
    }
    return figures.bound_during_training(curves, epochs)


def _seed_bounds(results: list[dict[str, Any]], seed: int) -> dict[str, float]:
    return {r["method"]: r["bound"] for r in results if r["seed"] == seed}


def _means(first: dict[str, Arrays], results: list[dict[str, Any]]) -> Figure:
    panels = {method: (a["mean"], a.get("label")) for method, a in first.items()}
    return figures.posterior_means(panels, bounds=_seed_bounds(results, 0))


def _learned(config: Config, root: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """The arrays of the first seeds' learned variances."""
    jobs = {f"seed {s}": ("Learned Σ", s) for s in range(min(3, config.seeds))}
    return {name: folder_of(root, job).arrays() for name, job in jobs.items()}


def _learned_runs(config: Config, root: Path, results: list[dict[str, Any]]) -> Figure:
    runs = {
        f"seed {s}": folder_of(root, ("Learned Σ", s)).arrays() for s in range(min(3, config.seeds))
    }
    bounds = {f"seed {s}": _seed_bounds(results, s)["Learned Σ"] for s in range(len(runs))}
    return figures.posterior_means(
        {name: (a["mean"], a.get("label")) for name, a in runs.items()}, bounds=bounds
    )


def _variances(config: Config, root: Path) -> Figure:
    runs = {
        f"seed {s}": folder_of(root, ("Learned Σ", s)).arrays() for s in range(min(3, config.seeds))
    }
    return figures.posterior_variance_against_mean(
        {name: (a["mean"], a["variance"]) for name, a in runs.items()}
    )


def _samples(first: dict[str, Arrays]) -> Figure:
    return figures.image_grid({method: a["generated"] for method, a in first.items()})


def _reconstructions(first: dict[str, Arrays]) -> Figure:
    originals = first["Learned Σ"]["originals"]
    return figures.reconstructions(
        originals, {method: a["reconstructions"] for method, a in first.items()}
    )


def _manifold(arrays: Arrays) -> Figure:
    return figures.latent_manifold(
        arrays["manifold"], arrays["mean"], arrays["z"], arrays.get("label")
    )
