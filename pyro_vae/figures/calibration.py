"""Whether posteriors are calibrated, and whether a model makes data like the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import binom

from pyro_vae.figures._checks import Array, finite, not_empty
from pyro_vae.figures.style import (
    METHOD_COLOURS,
    REFERENCE_COLOUR,
    TEXT,
    TITLE,
    lettered,
    method_colours,
    panel_row,
    plain,
)

_OTHERS = "#B0B0B0"
_BAND: dict[str, Any] = {"color": REFERENCE_COLOUR, "alpha": 0.2, "linewidth": 0}


def rank_ecdf(
    ecdf: Mapping[str, Array], points: Array, band: tuple[Array, Array], *, most: int = 4
) -> Figure:
    """The ECDF of ranks less that of uniform ranks, a panel a quantity, with a simultaneous band.

    A curve that leaves the band is of a posterior that is not calibrated. Of draws too narrow it is
    high on the left and low on the right, of draws too wide the reverse; of draws too low it lies
    below 0, too high above. Of more than ``most`` quantities, those that are furthest from uniform
    have a panel, and the others are drawn in grey.

    Args:
        ecdf: quantity → ECDF [points].
        points: where it is taken, in (0, 1).
        band: the least and the largest ECDF of uniform ranks, [points] each.
        most: panels at the most.

    Raises:
        ValueError: no quantity; a curve or a side of the band that is not a finite [points];
            ``most`` below 1.

    Source: Säilynoja, Bürkner and Vehtari, "Graphical Test for Discrete Uniformity and Its
    Applications in Goodness-of-Fit Evaluation and Multiple Sample Comparison" (2022).

    >>> points = np.arange(1, 10) / 10
    >>> curves = {"z[0]": points, "z[1]": points**2, "z[2]": points + 0.02}
    >>> figure = rank_ecdf(curves, points, (points - 0.1, points + 0.1), most=2)
    >>> [axes.get_title() for axes in figure.axes]
    ['(a) z[1]', '(b) z[2]']
    """
    where = "rank_ecdf"
    points, curves, (low, high) = _checked(where, ecdf, points, band)
    off = {name: _ends(curve - points, 0, 0) for name, curve in curves.items()}
    low, high = _ends(low - points, 0, 0), _ends(high - points, 0, 0)
    points = _ends(points, 0, 1)
    shown = _furthest(off, most, where)
    reach = 1.1 * float(np.abs([low, high, *off.values()]).max())
    figure, grid = panel_row(len(shown), 2.5)
    for axes, title, name in zip(grid, lettered(shown), shown, strict=True):
        _band(axes, points, low, high)
        axes.axhline(0, color=REFERENCE_COLOUR, linewidth=1)
        for other in off.keys() - {name}:
            axes.plot(points, off[other], color=_OTHERS, linewidth=0.7)
        axes.plot(points, off[name], color=METHOD_COLOURS[0], linewidth=1.5)
        axes.set_ylim(-reach, reach)
        axes.set_title(title, fontsize=TITLE)
        axes.set_xlabel("rank / (draws + 1)", fontsize=TEXT)
        _unit_interval(axes)
    grid[0].set_ylabel("ECDF less uniform", fontsize=TEXT)
    others = [_line(_OTHERS, "the others")] if len(off) > 1 else []
    _legend(figure, [_line(METHOD_COLOURS[0], "ranks"), *others, _patch("uniform ranks")])
    return figure


def rank_histogram(
    ranks: Mapping[str, Array], num_draws: int, *, bins: int = 20, confidence: float = 0.99
) -> Figure:
    """How often each part of the ranks occurs, beside what is expected of uniform ones.

    Heights are relative to what is expected, 1. The band is where a bar of uniform ranks lies with
    probability ``confidence``, for each bar by itself: of 20 bars and 99 %, one in five histograms
    has a bar outside by chance. A U is of draws too narrow, a hump of draws too wide; a slope up of
    draws too low, down too high.

    Args:
        ranks: quantity → rank of each simulation, 0 … ``num_draws``, [simulations].
        num_draws: draws the truth was ranked among.
        bins: bars; of no more use than there are ranks.
        confidence: of the band.

    Raises:
        ValueError: no quantity; ranks that are not a finite [simulations] or not in
            0 … ``num_draws``; fewer than one bin, or more than ranks.

    Source: Talts, Betancourt, Simpson, Vehtari and Gelman, "Validating Bayesian Inference
    Algorithms with Simulation-Based Calibration" (2018), section 4.

    >>> figure = rank_histogram({"z": np.arange(100)}, num_draws=99, bins=4)
    >>> [float(bar.get_height()) for bar in figure.axes[0].patches]
    [1.0, 1.0, 1.0, 1.0]
    """
    where = "rank_histogram"
    not_empty(ranks, f"{where}: ranks")
    edges = _edges(bins, num_draws, where)
    checked = {name: _ranks(f"{where}: ranks[{name!r}]", r, num_draws) for name, r in ranks.items()}
    figure, grid = panel_row(len(checked), 2.5)
    for axes, title, name in zip(grid, lettered(checked), checked, strict=True):
        _histogram(axes, checked[name], edges, confidence)
        axes.set_title(title, fontsize=TITLE)
        axes.set_xlabel("rank", fontsize=TEXT)
    grid[0].set_ylabel("relative frequency", fontsize=TEXT)
    _legend(figure, [_patch(f"{100 * confidence:g} % of uniform ranks, a bar by itself")])
    return figure


def coverage(
    curves: Mapping[str, Array], levels: Array, band: tuple[Array, Array], *, most: int = 7
) -> Figure:
    """How often credible sets hold the truth against their nominal level, with a simultaneous band.

    A curve below the band is of a posterior that is over-confident; above, under-confident. Of more
    than ``most`` quantities, those that are furthest from the diagonal are coloured, and the others
    drawn in grey.

    Args:
        curves: quantity → coverage [levels].
        levels: in (0, 1).
        band: the least and the largest coverage of calibrated sets, [levels] each.
        most: colours at the most, 7 or fewer.

    Raises:
        ValueError: no quantity; a curve or a side of the band that is not a finite [levels];
            ``most`` below 1 or above 7.

    Source: Hermans et al., "A Crisis In Simulation-Based Inference? Beware, Your Posterior
    Approximations Can Be Unfaithful" (2022).

    >>> levels = np.arange(1, 10) / 10
    >>> figure = coverage({"joint": levels**2}, levels, (levels - 0.1, levels + 0.1))
    >>> figure.axes[0].get_ylabel()
    'coverage'
    """
    where = "coverage"
    levels, checked, (low, high) = _checked(where, curves, levels, band)
    ends = _ends(levels, 0, 1)
    furthest = _furthest({n: curve - levels for n, curve in checked.items()}, most, where)
    colours = method_colours(name for name in checked if name in furthest)
    figure = Figure(figsize=(3.6, 4.2), layout="constrained")
    axes = figure.subplots()
    _band(axes, ends, _ends(low, 0, 1), _ends(high, 0, 1))
    axes.axline((0, 0), slope=1, color=REFERENCE_COLOUR, linewidth=1)
    for name in sorted(checked, key=lambda name: name in colours):  # grey ones underneath
        colour = colours.get(name, _OTHERS)
        axes.plot(ends, _ends(checked[name], 0, 1), color=colour, linewidth=1.5)
    axes.set(ylim=(0, 1), aspect="equal")
    axes.set_xlabel("nominal level", fontsize=TEXT)
    axes.set_ylabel("coverage", fontsize=TEXT)
    _unit_interval(axes)
    handles = [_line(colour, name) for name, colour in colours.items()]
    if len(checked) > len(colours):
        handles.append(_line(_OTHERS, "the others"))
    _legend(figure, [*handles, _patch("calibrated")])
    return figure


def predictive_check(observed: Mapping[str, Array], replicated: Mapping[str, Array]) -> Figure:
    """Statistics of the data beside those of data that the model makes, a column a statistic.

    Above, the mean over the data: a line for the data, a histogram for the replicates, and p, the
    share of replicates above the line. Below, each datum: the replicates' central 90 % and their
    median against the datum's own; on the diagonal they agree.

    Args:
        observed: statistic → its value for each datum, [data].
        replicated: statistic → the same of replicates, [draws, data].

    Raises:
        ValueError: no statistic; values that are not a finite [data] and [draws, data]; a
            statistic without replicates.

    Source: Gelman, Meng and Stern, "Posterior Predictive Assessment of Model Fitness via Realized
    Discrepancies" (1996).

    >>> observed = {"mean": np.array([0.0, 1.0])}
    >>> replicated = {"mean": np.array([[-1.0, 0.5], [1.0, 1.5], [0.0, 2.0], [0.5, 1.0]])}
    >>> predictive_check(observed, replicated).axes[0].get_title()
    'mean\\np = 0.75'
    """
    where = "predictive_check"
    not_empty(observed, f"{where}: observed")
    pairs = {n: _statistic(where, n, value, replicated.get(n)) for n, value in observed.items()}
    figure = Figure(figsize=(2.7 * len(pairs), 5.2), layout="constrained")
    grid = figure.subplots(2, len(pairs), squeeze=False)
    for (above, below), title, name in zip(grid.T, lettered(pairs), pairs, strict=True):
        p = _pooled(above, *pairs[name])
        above.set_title(f"{title}\np = {p:.2g}", fontsize=TITLE)
        _per_datum(below, *pairs[name])
    grid[0, 0].set_ylabel("replicates", fontsize=TEXT)
    grid[1, 0].set_ylabel("a datum's replicates", fontsize=TEXT)
    marks = [Patch(color=METHOD_COLOURS[0], label="replicates"), _line(REFERENCE_COLOUR, "equal")]
    _legend(figure, [_line(METHOD_COLOURS[1], "the data"), *marks])
    return figure


def _checked(
    where: str, curves: Mapping[str, Array], points: Array, band: tuple[Array, Array]
) -> tuple[Array, dict[str, Array], tuple[Array, Array]]:
    not_empty(curves, where)
    points = finite(points, ("points",), f"{where}: points", "Give where the curves are taken.")
    shape, advice = (len(points),), "Give one number a point."
    checked = {n: finite(curve, shape, f"{where}: {n}", advice) for n, curve in curves.items()}
    low, high = (finite(side, shape, f"{where}: band", advice) for side in band)
    return points, checked, (low, high)


def _furthest(off: Mapping[str, Array], most: int, where: str) -> list[str]:
    """At most `most` names, those furthest from 0, in the order given."""
    if most < 1:
        raise ValueError(f"{where}: most: expected 1 or more; got {most}. Draw one at least.")
    chosen = sorted(off, key=lambda name: -float(np.abs(off[name]).max()))[:most]
    return [name for name in off if name in chosen]


def _ends(curve: Array, first: float, last: float) -> Array:
    return np.concatenate([[first], curve, [last]])


def _edges(bins: int, num_draws: int, where: str) -> Array:
    if not 1 <= bins <= num_draws + 1:
        raise ValueError(
            f"{where}: bins: expected from 1 to {num_draws + 1}, as many as there are ranks; got "
            f"{bins}. Try 20."
        )
    return np.linspace(0, num_draws + 1, bins + 1).round().astype(int)


def _ranks(where: str, ranks: Array, num_draws: int) -> Array:
    ranks = finite(ranks, ("simulations",), where, "Give one rank a simulation.")
    if ranks.min() < 0 or ranks.max() > num_draws:
        raise ValueError(
            f"{where}: expected ranks from 0 to num_draws = {num_draws}; got {ranks.min()} to "
            f"{ranks.max()}. Give the number of draws that they are of."
        )
    return ranks


def _histogram(axes: Axes, ranks: Array, edges: Array, confidence: float) -> None:
    """Bars relative to what is expected, and where they lie for uniform ranks."""
    share = np.diff(edges) / edges[-1]
    expected = share * len(ranks)
    sides = (side / expected for side in binom.interval(confidence, len(ranks), share))
    low, high = (np.append(side, side[-1]) for side in sides)
    axes.fill_between(edges, low, high, step="post", **_BAND)
    heights = np.histogram(ranks, edges - 0.5)[0] / expected
    colour = METHOD_COLOURS[0]
    axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=colour, alpha=0.6)
    axes.axhline(1, color=REFERENCE_COLOUR, linewidth=1)
    axes.set_xlim(0, edges[-1])
    axes.locator_params(nbins=4)
    plain(axes)


def _statistic(
    where: str, name: str, observed: Array, replicated: Array | None
) -> tuple[Array, Array]:
    if replicated is None:
        raise ValueError(f"{where}: replicated: expected {name!r}; got none. Name them alike.")
    observed = finite(observed, ("data",), f"{where}: observed[{name!r}]", "Give one a datum.")
    replicated = finite(
        replicated,
        ("draws", len(observed)),
        f"{where}: replicated[{name!r}]",
        "Put a replicate of all data in each row.",
    )
    return observed, replicated


def _pooled(axes: Axes, observed: Array, replicated: Array) -> float:
    """The means over the data; the share of replicates above."""
    value, means = observed.mean(), replicated.mean(1)
    axes.hist(means, bins=30, color=METHOD_COLOURS[0], alpha=0.7)
    axes.axvline(value, color=METHOD_COLOURS[1], linewidth=1.5)
    axes.set_xlabel("mean over the data", fontsize=TEXT)
    axes.locator_params(nbins=4)
    plain(axes)
    return float(np.mean((1 + np.sign(means - value)) / 2))


def _per_datum(axes: Axes, observed: Array, replicated: Array) -> None:
    low, median, high = np.quantile(replicated, [0.05, 0.5, 0.95], axis=0)
    axes.vlines(
        observed, low, high, color=METHOD_COLOURS[0], alpha=0.3, linewidth=1, rasterized=True
    )
    axes.plot(observed, median, ".", color=METHOD_COLOURS[0], markersize=4, rasterized=True)
    middle = float(observed.mean())
    axes.axline((middle, middle), slope=1, color=REFERENCE_COLOUR, linewidth=1)
    axes.set_xlabel("the datum's own", fontsize=TEXT)
    axes.locator_params(nbins=4)
    plain(axes)


def _band(axes: Axes, points: Array, low: Array, high: Array) -> None:
    axes.fill_between(points, low, high, **_BAND)


def _unit_interval(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    plain(axes)


def _line(colour: str, name: str) -> Line2D:
    return Line2D([], [], color=colour, linewidth=1.5, label=name)


def _patch(name: str) -> Patch:
    return Patch(label=name, **_BAND)


def _legend(figure: Figure, handles: Sequence[Artist]) -> None:
    columns = min(len(handles), max(2, int(figure.get_figwidth() / 1.7)))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=TEXT
    )
