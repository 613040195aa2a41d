"""The experiment's figures, from saved results; nothing is trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.posterior_variance.config import Config
from experiments.posterior_variance.jobs import folder_of
from experiments.posterior_variance.methods import BASELINE, METHODS
from pyro_vae import figures

__all__ = ["PAPER", "draw", "shown_seed"]

PAPER = {"Learned Σ": -136.5, "Constant Σ": -134.2, "BILBO": -134.3}
"""Fyffe, figure 5: MNIST, a two-dimensional latent space, nats an image."""

Arrays = dict[str, NDArray[Any]]


def draw(config: Config, root: Path, results: list[dict[str, Any]]) -> dict[str, str]:
    """Draw every figure that the run has data for into ``root / "figures"``; name → caption."""
    seed = shown_seed(results)
    shown = {method: folder_of(root, (method, seed)).arrays() for method in METHODS}
    told = f"seed {seed}" + _MEDIAN * (config.seeds > 1)
    drawn: dict[str, tuple[Figure, str]] = {}
    if len(_curve(results[0])) > 1:
        drawn["bound.png"] = _bound(results), _BOUND + _BAND * (config.seeds > 1)
    drawn["samples.png"] = _samples(shown), f"{_SAMPLES}, {told}."
    drawn["reconstructions.png"] = _reconstructions(shown), f"{_RECONSTRUCTIONS}, {told}."
    if config.latent == 2:
        drawn["posterior_means.png"] = _means(shown, results, seed), f"{_MEANS}, {told}."
        if config.seeds > 1:
            drawn["learned_runs.png"] = _learned_runs(config, root, results), _RUNS
        drawn["posterior_variance.png"] = _variances(config, root), _VARIANCES
        learned, bilbo = f"{_MANIFOLD_LEARNED}, {told}.", f"{_MANIFOLD_BILBO}, seed {seed}."
        drawn["manifold_learned.png"] = _manifold(shown[BASELINE]), learned
        drawn["manifold_bilbo.png"] = _manifold(shown["BILBO"]), bilbo
    for name, (figure, _) in drawn.items():
        figures.save(figure, root / "figures" / name)
    return {name: caption for name, (_, caption) in drawn.items()}


def shown_seed(results: list[dict[str, Any]]) -> int:
    """Whose pictures stand for all: the median of the learned variance's bounds, of an even number
    the lower one. A first seed can be the worst."""
    bounds = sorted((r["bound"], r["seed"]) for r in results if r["method"] == BASELINE)
    return int(bounds[(len(bounds) - 1) // 2][1])


_MEDIAN = f", the median by the bound of {BASELINE}"
_BOUND = (
    "After Fyffe, figure 4 (a, b): the bound on the test set during training, for all methods "
    "the ordinary ELBO, the floating prior's variance from the training set."
)
_BAND = " The line is the mean and the band the range over seeds."
_SAMPLES = "After figure 4 (c): means of p(x|z) at draws from each method's prior"
_RECONSTRUCTIONS = "Test images, and the decoder's mean at the posterior's mean"
_MEANS = "After figure 5: posterior means of the test set coloured by label"
_RUNS = "After figure 2: the learned-variance method from different seeds."
_VARIANCES = (
    "After figure 3: learned posterior variances against posterior means, relative to the prior's "
    "variance (1); the axes hold 99.5 % of them."
)
_MANIFOLD_LEARNED = (
    "After figure 12, learned variance: images decoded over the prior's quantiles; posterior means "
    "(upper right) and one sample from each posterior (lower right)"
)
_MANIFOLD_BILBO = "After figure 13: the same for BILBO, Σ = I"


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


def _means(shown: dict[str, Arrays], results: list[dict[str, Any]], seed: int) -> Figure:
    panels = {method: (a["mean"], a.get("label")) for method, a in shown.items()}
    return figures.posterior_means(panels, bounds=_seed_bounds(results, seed))


def _learned(config: Config, root: Path) -> dict[int, Arrays]:
    """The arrays of the first seeds' learned variances."""
    seeds = range(min(3, config.seeds))
    return {seed: folder_of(root, (BASELINE, seed)).arrays() for seed in seeds}


def _learned_runs(config: Config, root: Path, results: list[dict[str, Any]]) -> Figure:
    runs = _learned(config, root)
    return figures.posterior_means(
        {f"seed {s}": (a["mean"], a.get("label")) for s, a in runs.items()},
        bounds={f"seed {s}": _seed_bounds(results, s)[BASELINE] for s in runs},
    )


def _variances(config: Config, root: Path) -> Figure:
    runs = _learned(config, root)
    return figures.posterior_variance_against_mean(
        {f"seed {s}": (a["mean"], a["variance"]) for s, a in runs.items()}
    )


def _samples(shown: dict[str, Arrays]) -> Figure:
    return figures.image_grid({method: a["generated"] for method, a in shown.items()})


def _reconstructions(shown: dict[str, Arrays]) -> Figure:
    originals = shown[BASELINE]["originals"]
    return figures.reconstructions(
        originals, {method: a["reconstructions"] for method, a in shown.items()}
    )


def _manifold(arrays: Arrays) -> Figure:
    decoded = arrays["manifold"]
    latents = figures.inverse_cdf_grid(len(decoded), np.sqrt(arrays["prior_variance"]))
    return figures.latent_manifold(
        decoded, arrays["mean"], arrays["z"], arrays.get("label"), latents=latents
    )
