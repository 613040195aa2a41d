"""How the bound moves while a model is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pyro_vae.figures._checks import Array, not_empty, shaped
from pyro_vae.figures.style import REFERENCE_COLOUR, TEXT, TITLE, method_colours, plain

_WHERE = "bound_during_training"


class _Band(NamedTuple):
    """Over the seeds, at each point: the smallest value, the mean and the largest."""

    lower: Array
    mean: Array
    upper: Array
    seeds: int


def bound_during_training(
    curves: Mapping[str, Array],
    epochs: Array,
    *,
    ylabel: str = "bound (nats per image)",
    references: Mapping[str, float] | None = None,
    zoom: float = 0.5,
) -> Figure:
    """The bound against the epoch, a line for each method: (a) the whole run, (b) its last part.

    A line is the mean over seeds; the band around it is the range over seeds, smallest to largest
    (no band for one seed). Panel (b) starts where the last `zoom` of the run does, and its vertical
    limits hold what the methods do there, so that they can be told apart; a dashed reference far
    from them is left to panel (a). A value that is not finite leaves a gap.

    Args:
        curves: method → bound in nats, [seeds, points]; methods may differ in their seeds.
        epochs: [points], increasing.
        ylabel: the vertical axis, with its unit.
        references: name → a value in nats, drawn as a dashed line: an exact log evidence, a
            published number.
        zoom: the share of the run in panel (b), in (0, 1).

    Raises:
        ValueError: no curve; a curve that is not [seeds, points]; fewer than two epochs, or epochs
            that do not increase; `zoom` outside (0, 1); more than seven methods.

    Source: Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder", figure 4 (a, b).

    >>> epochs = np.arange(1, 101)
    >>> bound = -140 - 400 / epochs + np.array([[-1.0], [0.0], [1.0]])
    >>> figure = bound_during_training({"ELBO": bound, "BILBO": bound + 2}, epochs)
    >>> [axes.get_title() for axes in figure.axes]
    ['(a) whole run', '(b) from epoch 51']
    """
    epochs = _increasing(epochs)
    not_empty(curves, f"{_WHERE}: curves")
    bands = {name: _band(name, curve, len(epochs)) for name, curve in curves.items()}
    first = _zoom_start(epochs, zoom)
    figure = Figure(figsize=(7.2, 3.3), layout="constrained")
    whole, last = figure.subplots(1, 2)
    for axes in (whole, last):
        _draw(axes, bands, epochs, references or {})
    whole.set_xlim(epochs[0], epochs[-1])
    whole.set_ylabel(ylabel, fontsize=TEXT)
    whole.set_title("(a) whole run", fontsize=TITLE)
    last.set_xlim(epochs[first], epochs[-1])
    last.set_ylim(_zoom_limits(bands, slice(first, None), references or {}))
    last.set_title(f"(b) from epoch {epochs[first]:g}", fontsize=TITLE)
    _legend(figure, whole, bands)
    return figure


def _increasing(epochs: Array) -> Array:
    epochs = shaped(epochs, ("points",), f"{_WHERE}: epochs", "Give one epoch a point.")
    if len(epochs) < 2 or not (np.diff(epochs) > 0).all():
        raise ValueError(
            f"{_WHERE}: epochs: expected two or more increasing values; got {epochs}. "
            "Sort the points by epoch."
        )
    return epochs


def _zoom_start(epochs: Array, zoom: float) -> int:
    """Where the last `zoom` of the run begins, as an index; two points remain at the least."""
    if not 0 < zoom < 1:
        raise ValueError(
            f"{_WHERE}: zoom: expected a share of the run in (0, 1); got {zoom}. "
            "Half the run is 0.5."
        )
    start = np.searchsorted(epochs, epochs[-1] - zoom * (epochs[-1] - epochs[0]))
    return min(int(start), len(epochs) - 2)


def _band(name: str, curve: Array, points: int) -> _Band:
    curve = shaped(
        curve,
        ("seeds", points),
        f"{_WHERE}: curves[{name!r}]",
        "Stack the seeds first; a single run is curve[None].",
    )
    curve = np.where(np.isfinite(curve), curve, np.nan)
    return _Band(curve.min(axis=0), curve.mean(axis=0), curve.max(axis=0), len(curve))


def _draw(
    axes: Axes, bands: Mapping[str, _Band], epochs: Array, references: Mapping[str, float]
) -> None:
    for position, (name, colour) in enumerate(method_colours(bands).items()):
        band = bands[name]
        # Every third is dashed, so that of two methods with one curve both are seen.
        style = (0, (4, 2)) if position % 3 == 2 else "-"
        if band.seeds > 1:
            axes.fill_between(epochs, band.lower, band.upper, color=colour, alpha=0.2, linewidth=0)
        axes.plot(epochs, band.mean, color=colour, linewidth=1.5, linestyle=style, label=name)
    for (name, value), dashes in zip(references.items(), _DASHES * len(references), strict=False):
        axes.axhline(value, color=REFERENCE_COLOUR, linewidth=1, linestyle=dashes, label=name)
    axes.set_xlabel("epoch", fontsize=TEXT)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    plain(axes)


_DASHES = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


def _zoom_limits(
    bands: Mapping[str, _Band], window: slice, references: Mapping[str, float]
) -> tuple[float | None, float | None]:
    """Each method's central 90 % in the window, and the references less than a height away."""
    seen = [_central(band, window) for band in bands.values()]
    edges = np.array([edge for edge in seen if edge is not None])
    if not edges.size:
        return None, None
    low, high = float(edges.min()), float(edges.max())
    height = high - low or 1.0
    near = [value for value in references.values() if low - height < value < high + height]
    return min([low, *near]) - 0.08 * height, max([high, *near]) + 0.08 * height


def _central(band: _Band, window: slice) -> tuple[float, float] | None:
    lower, upper = band.lower[window], band.upper[window]
    both = np.isfinite(lower) & np.isfinite(upper)
    if not both.any():
        return None
    return float(np.quantile(lower[both], 0.05)), float(np.quantile(upper[both], 0.95))


def _legend(figure: Figure, axes: Axes, bands: Mapping[str, _Band]) -> None:
    handles, names = axes.get_legend_handles_labels()
    seeds = sorted({band.seeds for band in bands.values()} - {1})
    if seeds:
        count = f"{seeds[0]} seeds" if len(seeds) == 1 else "seeds"
        handles.append(Patch(color=REFERENCE_COLOUR, alpha=0.2, linewidth=0))
        names.append(f"range over {count} (line: mean)")
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=math.ceil(len(names) / math.ceil(len(names) / 4)),
        frameon=False,
        fontsize=TEXT,
    )
