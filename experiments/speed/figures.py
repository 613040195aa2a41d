"""The experiment's figures, from its saved results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from experiments.speed.contenders import CONTENDERS, OURS
from experiments.speed.measure import MEASURED
from experiments.speed.spread import quartiles
from pyro_vae import figures
from pyro_vae.figures.style import REFERENCE_COLOUR, TEXT, TITLE, plain

__all__ = ["draw"]

Found = Mapping[str, Any]

_STEPS = (
    "Milliseconds a training step: the median over blocks, and a bar from the first to the third "
    "quartile. The dashed line is the limit: the step's matrix products at this machine's peak."
)
_GROWTH = (
    "Case (a), one size at a time: milliseconds a step, median and quartiles; the dashed line is "
    "the limit."
)

_AXES = {
    "batch": "data a batch",
    "latent": "dimensions of z",
    "width": "width of the layers",
    "particles": "particles",
}


def draw(results: Found, root: Path) -> dict[str, str]:
    """Draw what there is into ``root / "figures"``; name → caption."""
    drawn: dict[str, tuple[Figure, str]] = {}
    cases = {name: case for name, case in results["cases"].items() if _measured(case)}
    points = [point for point in results["growth"] if _measured(point)]
    if cases:
        drawn["steps.png"] = _steps(cases), _STEPS
    if points:
        drawn["growth.png"] = _growth(points), _GROWTH
    for name, (figure, _) in drawn.items():
        figures.save(figure, root / "figures" / name)
    return {name: caption for name, (_, caption) in drawn.items()}


def _measured(case: Found) -> dict[str, Found]:
    """Those with numbers, in the order of tables."""
    found = case["contenders"]
    return {k: found[k] for k in CONTENDERS if k in found and found[k]["status"] == MEASURED}


def _steps(cases: Mapping[str, Found]) -> Figure:
    """A panel a case, a row a contender."""
    shown = [key for key in CONTENDERS if any(key in _measured(case) for case in cases.values())]
    width, height = 1.9 * len(cases) + 2.2, 0.24 * len(shown) + 0.9
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    for axes, (name, case) in zip(panels, cases.items(), strict=True):
        _rows(axes, case, shown)
        axes.set_title(f"case {name}", fontsize=TITLE)
        axes.set_xlabel("ms a step", fontsize=TEXT)
    panels[0].set_yticks(range(len(shown)), [CONTENDERS[key].label for key in shown])
    panels[0].invert_yaxis()
    return figure


def _rows(axes: Axes, case: Found, shown: Sequence[str]) -> None:
    (ours,) = figures.method_colours([OURS]).values()
    for key, found in _measured(case).items():
        colour = ours if key == OURS else REFERENCE_COLOUR
        row, low_high = shown.index(key), quartiles(found["milliseconds"])
        axes.plot(low_high, (row, row), color=colour, linewidth=3, alpha=0.4)
        axes.plot(found["median_milliseconds"], row, "o", color=colour, markersize=4.5)
    limit = case["limit"]["milliseconds"]
    axes.axvline(limit, color=REFERENCE_COLOUR, linewidth=1, linestyle="--")
    axes.annotate(
        "limit",
        (limit, 0.5),
        (2, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        rotation=90,
        va="center",
        color=REFERENCE_COLOUR,
        fontsize=TEXT,
    )
    _logarithmic(axes, "x")
    plain(axes)


def _growth(points: Sequence[Found]) -> Figure:
    """A panel for what grows, a line a contender."""
    axes_names = list(dict.fromkeys(point["axis"] for point in points))
    figure = Figure(figsize=(2.4 * len(axes_names) + 0.4, 3.2), layout="constrained")
    panels = figure.subplots(1, len(axes_names), sharey=True, squeeze=False)[0]
    keys = [key for key in CONTENDERS if any(key in _measured(point) for point in points)]
    colours = figures.method_colours(keys)
    for axes, name in zip(panels, axes_names, strict=True):
        _curves(axes, [p for p in points if p["axis"] == name], colours)
        axes.set_xlabel(_AXES[name], fontsize=TEXT)
    panels[0].set_ylabel("ms a step", fontsize=TEXT)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=TEXT)
    return figure


def _curves(axes: Axes, points: Sequence[Found], colours: Mapping[str, str]) -> None:
    values = [point["value"] for point in points]
    for key, colour in colours.items():
        there = [
            (point["value"], _measured(point)[key]) for point in points if key in _measured(point)
        ]
        if not there:
            continue
        at = [value for value, _ in there]
        low, high = zip(*(quartiles(found["milliseconds"]) for _, found in there), strict=True)
        axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
        medians = [found["median_milliseconds"] for _, found in there]
        label = CONTENDERS[key].label
        axes.plot(at, medians, "o-", color=colour, markersize=3, linewidth=1.3, label=label)
    limits = [point["limit"]["milliseconds"] for point in points]
    axes.plot(values, limits, "--", color=REFERENCE_COLOUR, linewidth=1, label="limit")
    _logarithmic(axes, "x")
    _logarithmic(axes, "y")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()
    plain(axes)


def _logarithmic(axes: Axes, which: str) -> None:
    """A log axis with plain numbers."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=_ticks(high / low)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _ticks(span: float) -> tuple[float, ...]:
    """What powers of ten are multiplied by: some four to seven ticks on an axis that spans so
    much."""
    if span > 100:
        return (1, 3)
    return (1, 2, 5) if span > 5 else (1, 1.5, 2, 3, 4, 5, 6, 8)
