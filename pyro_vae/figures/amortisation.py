"""Guides against the posteriors that they stand for, and what they fall short of log p(x) by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import gaussian_kde

from pyro_vae.figures._checks import Array, finite, not_empty
from pyro_vae.figures._scatter import square_limits
from pyro_vae.figures.style import (
    REFERENCE_COLOUR,
    TEXT,
    TICK,
    TITLE,
    lettered,
    method_colours,
    panel_row,
    plain,
    signed,
)

_Line: TypeAlias = Literal["-"] | tuple[float, tuple[float, float]]

_DASHES: _Line = (0.0, (3.0, 1.5))
_SHARES = (0.5, 0.9)  # of a guide's draws, inside its contours
_GRID = 100
_ROOM = 0.105  # of the longest bar, which a number inside takes
_SEEN = 0.004  # of it, which is a pixel


def guide_against_nuts(
    panels: Mapping[str, tuple[Array, Mapping[str, Array]]], *, names: tuple[str, str] = ("1", "2")
) -> Figure:
    """Posteriors of several data in a plane of two latents: draws of NUTS as points, and of each
    guide the contours that hold 50 and 90 % of its draws, a panel a datum.

    A panel holds the central 99 % of all draws in it, at equal aspect. Points are rasterised.
    Guides after the first are dashed: one that is the first's equal is seen on it.

    Args:
        panels: datum → (draws of NUTS [S, 2], guide → draws [T, 2]); each S and T of its own.
        names: of the two latents, as subscripts.

    Raises:
        ValueError: no panel or no guide; draws that are not [S, 2] or not finite; a guide's that
            lie on a line; more than seven guides.

    >>> rng = np.random.default_rng(0)
    >>> nuts, guide = rng.normal(size=(200, 2)), 0.7 * rng.normal(size=(200, 2))
    >>> figure = guide_against_nuts({"datum 3": (nuts, {"encoder": guide})})
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['NUTS', 'encoder']
    """
    where = "guide_against_nuts"
    not_empty(panels, f"{where}: panels")
    guides = dict.fromkeys(guide for _, draws in panels.values() for guide in draws)
    not_empty(guides, f"{where}: guides")
    styles = _styles(guides)
    figure, grid = panel_row(len(panels), 2.5)
    for axes, title, (name, (nuts, draws)) in zip(
        grid, lettered(panels), panels.items(), strict=True
    ):
        at = f"{where}: panels[{name!r}]"
        nuts = _draws(nuts, f"{at}: NUTS")
        checked = {guide: _draws(each, f"{at}: {guide}") for guide, each in draws.items()}
        _draw_points(axes, nuts)
        square_limits(axes, np.concatenate([nuts, *checked.values()]))
        axes.locator_params(axis="x", min_n_ticks=2)  # three may run into one another
        for guide, each in checked.items():
            _draw_contours(axes, each, *styles[guide], f"{at}: {guide}")
        axes.set_title(title, fontsize=TITLE)
        axes.set_xlabel(f"$z_{{{names[0]}}}$", fontsize=TEXT)
        axes.set_ylabel(f"$z_{{{names[1]}}}$", fontsize=TEXT)
    _legend(figure, styles)
    return figure


def inference_gaps(methods: Mapping[str, Mapping[str, Array]]) -> Figure:
    """What ELBOs fall short of log p(x) by, a bar a method, stacked of its parts: their means over
    the data, with a whisker of a standard error, over data like these, at the end. Of a part too
    thin to be seen in any bar the legend says how much it is at the most.

    Args:
        methods: method → part → gap of each datum [N], in nats; the first part next to zero, such
            as ``{"encoder": {"approximation": …, "amortisation": …}}``. The same parts for each.

    Raises:
        ValueError: no method or part; other parts than the first method's; gaps that are not [N]
            with two data or more, or not finite; more than seven parts.

    Source: Cremer, Li and Duvenaud, "Inference Suboptimality in Variational Autoencoders" (2018).

    >>> gaps = {"approximation": np.array([1.0, 2.0]), "amortisation": np.array([3.0, 5.0])}
    >>> figure = inference_gaps({"diagonal": gaps})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1.50', '4.00', '5.50']
    """
    where = "inference_gaps"
    not_empty(methods, f"{where}: methods")
    parts = list(next(iter(methods.values())))
    not_empty(dict.fromkeys(parts), f"{where}: parts")
    colours = method_colours(parts)
    figure = Figure(figsize=(5.6, 0.9 + 0.5 * len(methods)), layout="constrained")
    axes = figure.subplots()
    rows = [_gaps(f"{where}: {name}", gaps, parts) for name, gaps in methods.items()]
    largest = max(max(gaps.mean(1).cumsum().max(), gaps.mean(1).sum()) for gaps in rows)
    for row, gaps in enumerate(rows):
        _draw_bar(axes, row, gaps, list(colours.values()), largest)
    axes.set_yticks(range(len(methods)), list(methods), fontsize=TEXT)
    axes.invert_yaxis()
    axes.axvline(0, color=REFERENCE_COLOUR, linewidth=0.8)
    axes.set_xlabel(r"$\log p(x) -$ ELBO, nats a datum", fontsize=TEXT)
    plain(axes)
    axes.tick_params(axis="y", length=0, labelsize=TEXT)
    axes.set_xlim(right=axes.get_xlim()[1] + 0.1 * largest)  # for the last number
    handles = [
        Line2D([], [], linestyle="", marker="s", markersize=7, color=colour, label=label)
        for label, colour in zip(_named(parts, rows, largest), colours.values(), strict=True)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=TEXT,
        handletextpad=0.0,
        columnspacing=0.9,
    )
    return figure


def _draws(value: Array, where: str) -> Array:
    return finite(value, ("S", 2), where, "Choose two latents to draw.")


def _draw_points(axes: Axes, points: Array) -> None:
    size = float(np.clip(6_000 / len(points), 2.0, 9.0))
    x, y = points.T
    axes.scatter(x, y, s=size, c=REFERENCE_COLOUR, alpha=0.35, edgecolors="none", rasterized=True)
    plain(axes)
    axes.set_aspect("equal")


def _styles(guides: Iterable[str]) -> dict[str, tuple[str, _Line]]:
    """Colours, and dashes after the first."""
    colours = method_colours(guides)
    return {
        name: (colour, _DASHES if number else "-")
        for number, (name, colour) in enumerate(colours.items())
    }


def _draw_contours(axes: Axes, draws: Array, colour: str, line: _Line, where: str) -> None:
    if np.linalg.matrix_rank(draws - draws.mean(0)) < 2:
        raise ValueError(
            f"{where}: expected draws that spread over the plane; got {len(draws)} on a line. "
            "Give more draws, or two latents that differ."
        )
    density = gaussian_kde(draws.T)
    x, y = (np.linspace(*limits, _GRID) for limits in (axes.get_xlim(), axes.get_ylim()))
    places = np.stack(np.meshgrid(x, y)).reshape(2, -1)
    levels = np.quantile(density(draws.T), sorted(1 - share for share in _SHARES))
    axes.contour(
        x,
        y,
        density(places).reshape(_GRID, _GRID),
        levels,
        colors=colour,
        linewidths=(1.0, 1.6),
        linestyles=[line],
    )


def _legend(figure: Figure, styles: Mapping[str, tuple[str, _Line]]) -> None:
    points = Line2D([], [], linestyle="", marker="o", markersize=4, color=REFERENCE_COLOUR)
    lines = [
        Line2D([], [], color=colour, linewidth=1.6, linestyle=line)
        for colour, line in styles.values()
    ]
    figure.legend(
        handles=[points, *lines],
        labels=["NUTS", *styles],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=TEXT,
    )


def _gaps(where: str, gaps: Mapping[str, Array], parts: list[str]) -> Array:
    """[parts, N]."""
    if list(gaps) != parts:
        raise ValueError(
            f"{where}: expected the parts {parts}; got {list(gaps)}. Give each method the same."
        )
    first = finite(gaps[parts[0]], ("N",), f"{where}, {parts[0]}", "Give a gap for each datum.")
    if len(first) < 2:
        raise ValueError(f"{where}: expected two data or more, for an error; got {len(first)}.")
    return np.stack(
        [
            finite(gap, (len(first),), f"{where}, {part}", "Give a gap for each datum.")
            for part, gap in gaps.items()
        ]
    )


def _named(parts: list[str], rows: list[Array], largest: float) -> list[str]:
    """What the legend says of each part."""
    most = np.abs([gaps.mean(1) for gaps in rows]).max(0)
    return [
        part if value > _SEEN * largest else f"{part} ({value:.2g} at the most)"
        for part, value in zip(parts, most, strict=True)
    ]


def _draw_bar(axes: Axes, row: int, gaps: Array, colours: list[str], largest: float) -> None:
    means = gaps.mean(1)
    ends = means.cumsum()
    error = gaps.sum(0).std(ddof=1) / np.sqrt(gaps.shape[1])
    whisker = ends[-1] - error
    for mean, end, colour in zip(means, ends, colours, strict=True):
        axes.barh(row, mean, left=end - mean, height=0.6, color=colour)
        left, right = min(end - mean, end), min(max(end - mean, end), whisker)
        if right - left > _ROOM * largest:
            _write(axes, (left + right) / 2, row, mean, "center", "white")
    axes.errorbar(ends[-1], row, xerr=error, color="black", capsize=3, linewidth=1)
    _write(axes, ends[-1] + error + 0.015 * largest, row, ends[-1], "left", "black")


def _write(axes: Axes, x: float, row: int, value: float, align: str, colour: str) -> None:
    axes.text(x, row, signed(value), ha=align, va="center", color=colour, fontsize=TICK)
