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
from scipy.ndimage import gaussian_filter

from pyro_vae.figures._checks import Array
from pyro_vae.figures.style import (
    LABEL_COLOURS,
    METHOD_COLOURS,
    REFERENCE_COLOUR,
    TEXT,
    plain,
)

Labels = NDArray[Any] | None

_CENTRAL = (0.005, 0.995)
_SPOT = 0.02  # of the axes' span: hardly more than a mark
_LONGEST = 2  # letters of a label inside the axes; longer ones are in the legend alone
_CELLS = 60  # a side of the axes, the places that a label may stand at
_LETTER = (4, 6)  # cells, its width and height in a panel of some two inches
_NEAR = 2.0  # cells, the standard deviation of what counts as near
_PURITY = 0.4  # of the points near a label are its own at least,
_SHARE, _FEWEST = 0.03, 3.0  # and of its own points this share, and so many, are near


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


def scatter_by_label(
    axes: Axes,
    points: Array,
    labels: Labels,
    colours: dict[Any, str],
    *,
    frame: Array | None = None,
) -> None:
    """All points in a fixed random order, so that no label hides another; a label stands where its
    points are densest and mostly its own, none upon another. Points that the axes show as a single
    spot are called collapsed instead.

    Shapes: points [N, 2], labels [N] or None, frame [M, 2]: what the axes are to hold, or None for
    the points.
    """
    plain(axes)
    axes.set_aspect("equal")
    square_limits(axes, points if frame is None else frame, spot=1e-3)
    if _extent(points) < _SPOT * np.ptp(axes.get_xlim()):
        _draw(axes, points, REFERENCE_COLOUR, 12.0)
        _say_collapsed(axes, _extent(points))
    elif labels is None:
        _draw(axes, points, METHOD_COLOURS[0], _area(len(points)))
    else:
        order = np.random.default_rng(0).permutation(len(points))
        drawn = [colours[label] for label in labels[order].tolist()]
        _draw(axes, points[order], drawn, _area(len(points)))
        _name_clusters(axes, points, labels, colours)


def square_limits(axes: Axes, points: Array, spot: float = 0.0) -> None:
    """Equal spans that hold the central 99 % of either coordinate. Shape: points [N, 2].

    Those hardly apart, at most `spot` of one unit or of their distance from 0, are left the single
    spot that they are, on axes that reach so far to either side.
    """
    centre = np.quantile(points, _CENTRAL, axis=0).mean(axis=0)
    reach = 0.56 * _extent(points)
    unit = max(1.0, float(np.abs(centre).max()))
    if reach <= spot * unit:
        reach = unit
    axes.set_xlim(centre[0] - reach, centre[0] + reach)
    axes.set_ylim(centre[1] - reach, centre[1] + reach)
    axes.locator_params(nbins=4, steps=[1, 2, 5, 10], min_n_ticks=3)


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


def _extent(points: Array) -> float:
    """The longer side of what holds the central 99 % of either coordinate."""
    low, high = np.quantile(points, _CENTRAL, axis=0)
    return float((high - low).max())


def _draw(axes: Axes, points: Array, colours: str | list[str], area: float) -> None:
    x, y = points.T
    axes.scatter(x, y, s=area, c=colours, alpha=0.7, edgecolors="none", rasterized=True)


def _say_collapsed(axes: Axes, extent: float) -> None:
    told = f"within {_number(extent)}" if extent else "on one point"
    axes.text(
        0.5,
        0.6,
        f"collapsed:\n99 % {told}",
        transform=axes.transAxes,
        color=REFERENCE_COLOUR,
        fontsize=TEXT,
        ha="center",
        va="bottom",
    )


def _number(value: float) -> str:
    """One digit of it, and a power of ten where it is small."""
    digit, exponent = f"{value:.0e}".split("e")
    return f"{value:.1g}" if int(exponent) > -4 else rf"${digit} \times 10^{{{int(exponent)}}}$"


def _name_clusters(axes: Axes, points: Array, labels: Array, colours: dict[Any, str]) -> None:
    for label, (x, y) in _places(axes, points, labels).items():
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


def _places(axes: Axes, points: Array, labels: Array) -> dict[Any, Array]:
    """Where in the axes each label stands: the best places first, each keeping the next away.

    A place is as good for a label as the share of that label's points that are near, times the
    share of the points near that are the label's. Where neither is enough the label stands nowhere,
    and where that is so for most there are no clusters to name.
    """
    distinct = [label for label in np.unique(labels).tolist() if len(str(label)) <= _LONGEST]
    if not distinct:
        return {}
    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    score = np.stack([_score(points, labels == label, limits) for label in distinct])
    size = np.array([_LETTER[0] * max(len(str(label)) for label in distinct), _LETTER[1]])
    _clear_margins(score, size // 2)
    found = {}
    while score.any():
        best, *cell = np.unravel_index(score.argmax(), score.shape)
        share = (np.array(cell) + 0.5) / _CELLS
        found[distinct[best]] = limits[:, 0] + share * np.ptp(limits, axis=1)
        score[best] = 0
        columns, rows = map(slice, np.maximum(0, cell - size + 1), cell + size)
        score[:, columns, rows] = 0
    return found if 2 * len(found) > len(distinct) else {}


def _clear_margins(score: Array, size: Array) -> None:
    """No label stands so near to an edge of the axes that it would be cut."""
    columns, rows = size
    score[:, :columns] = score[:, -columns:] = 0
    score[:, :, :rows] = score[:, :, -rows:] = 0


def _score(points: Array, own: Array, limits: Array) -> Array:
    """How good each cell of the axes is for the label of the points `own`. Shape: own [N]."""
    near = _near(points[own], limits)
    purity = near / np.maximum(_near(points, limits), 1e-12)
    enough = (near > max(_FEWEST, _SHARE * own.sum())) & (purity > _PURITY)
    return np.where(enough, near / own.sum() * purity, 0.0)


def _near(points: Array, limits: Array) -> Array:
    """How many points are near each cell of the axes."""
    counts, _ = np.histogramdd(points, bins=_CELLS, range=list(limits))
    return 2 * np.pi * _NEAR**2 * gaussian_filter(counts, _NEAR, mode="constant")
