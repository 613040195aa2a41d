"""Points of a two-dimensional latent space, coloured by label."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from pyro_vae.figures._checks import Array
from pyro_vae.figures.style import LABEL_COLOURS, METHOD_COLOURS, TEXT, plain

Labels = NDArray[Any] | None


def label_colours(labels: Iterable[Labels], where: str) -> dict[Any, str]:
    """A colour for each distinct label: its own for a digit 0–9, else by position."""
    known = [each for each in labels if each is not None]
    distinct = np.unique(np.concatenate(known)).tolist() if known else []
    if set(distinct) <= set(range(len(LABEL_COLOURS))):
        return {label: LABEL_COLOURS[int(label)] for label in distinct}
    if len(distinct) > len(LABEL_COLOURS):
        raise ValueError(
            f"{where}: expected at most {len(LABEL_COLOURS)} distinct labels; got {len(distinct)}. "
            "Group them, or pass None to draw without labels."
        )
    return dict(zip(distinct, LABEL_COLOURS, strict=False))


def scatter_by_label(axes: Axes, points: Array, labels: Labels, colours: dict[Any, str]) -> None:
    """All points in a fixed random order, so that no label hides another; labels at their median.

    Shapes: points [N, 2], labels [N] or None.
    """
    order = np.random.default_rng(0).permutation(len(points))
    drawn = [METHOD_COLOURS[0]] * len(points)
    if labels is not None:
        drawn = [colours[label] for label in labels[order].tolist()]
    x, y = points[order].T
    axes.scatter(x, y, s=_area(len(points)), c=drawn, alpha=0.7, edgecolors="none", rasterized=True)
    if labels is not None:
        _name_clusters(axes, points, labels, colours)
    plain(axes)
    axes.set_aspect("equal")


def square_limits(axes: Axes, points: Array) -> None:
    """Equal spans that hold the central 99 % of either coordinate. Shape: points [N, 2]."""
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    centre = (low + high) / 2
    reach = 0.56 * (high - low).max() or 1.0
    axes.set_xlim(centre[0] - reach, centre[0] + reach)
    axes.set_ylim(centre[1] - reach, centre[1] + reach)
    axes.locator_params(nbins=5)


def label_legend(figure: Figure, colours: dict[Any, str]) -> None:
    """One legend of the labels for all panels, under them."""
    if not colours:
        return
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=5, color=colour, label=str(label))
        for label, colour in colours.items()
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=TEXT,
        handletextpad=0.0,
        columnspacing=0.9,
    )


def _area(count: int) -> float:
    """Square points of ink for one of `count` marks: fewer points, larger marks."""
    return float(np.clip(12_000 / count, 1.5, 12.0))


def _name_clusters(axes: Axes, points: Array, labels: Array, colours: dict[Any, str]) -> None:
    for label in np.unique(labels).tolist():
        x, y = np.median(points[labels == label], axis=0)
        axes.text(
            x,
            y,
            str(label),
            color=colours[label],
            fontsize=TEXT,
            fontweight="bold",
            ha="center",
            va="center",
            clip_on=True,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
