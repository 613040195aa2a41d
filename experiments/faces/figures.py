"""The experiment's figures, from saved results; nothing is trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.faces.jobs import folder_of
from experiments.faces.methods import BASELINE, METHODS
from pyro_vae import figures

__all__ = ["draw"]

_BOUND = (
    "The bound on held-out images during training: for all methods the ordinary ELBO, the floating "
    "prior's variance from the training set."
)
_RECONSTRUCTIONS = (
    "After Fyffe, figures 7 (a–d) and 16: held-out images, and the decoder's mean at the "
    "posterior's mean."
)
_SAMPLES = (
    "After figures 7 (e, f) and 17: images decoded at draws from N(0, I), and from the optimal "
    "prior N(0, S²) of eq. 4; the draws are the same but for their scale."
)
_BESIDE_PRIOR = {BASELINE: ("standard", "optimal")}  # the others' prior is the optimal one

Arrays = dict[str, NDArray[Any]]


def draw(root: Path) -> dict[str, str]:
    """Draw every figure into ``root / "figures"``; name → caption."""
    found = {method: folder_of(root, method).arrays() for method in METHODS}
    drawn: dict[str, tuple[Figure, str]] = {
        "reconstructions.png": (_reconstructions(found), _RECONSTRUCTIONS),
        "samples.png": (_samples(found), _SAMPLES),
    }
    curves = {method: _curve(root, method) for method in METHODS}
    if len(curves[BASELINE]) > 1:
        drawn["bound.png"] = _bound(curves), _BOUND
    for name, (figure, _) in drawn.items():
        figures.save(figure, root / "figures" / name)
    return {name: caption for name, (_, caption) in drawn.items()}


def _reconstructions(found: dict[str, Arrays]) -> Figure:
    made = {method: arrays["reconstructions"] for method, arrays in found.items()}
    return figures.reconstructions(_pictures(found[BASELINE]["originals"]), _each(made))


def _samples(found: dict[str, Arrays]) -> Figure:
    panels = {
        f"{method.split(',')[0]}, N(0, I)" if prior == "standard" else _short(method): a[prior]
        for method, a in found.items()
        for prior in _BESIDE_PRIOR.get(method, ("optimal",))
    }
    return figures.image_grid(_each(panels))


def _short(method: str) -> str:
    return "ELBO, optimal prior" if method == BASELINE else method


def _bound(curves: dict[str, dict[int, float]]) -> Figure:
    return figures.bound_during_training(
        {method: np.array([list(curve.values())]) for method, curve in curves.items()},
        np.array(list(curves[BASELINE])),
    )


def _curve(root: Path, method: str) -> dict[int, float]:
    records = folder_of(root, method).result()["history"]
    return {r["epoch"]: r["validation"] for r in records if r["validation"] is not None}


def _each(panels: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: _pictures(images) for name, images in panels.items()}


def _pictures(images: NDArray[Any]) -> NDArray[Any]:
    """Without the channel, where there is one only."""
    return images.squeeze(-3) if images.shape[-3] == 1 else images
