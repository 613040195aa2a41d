"""How noisy a gradient is against the number of particles."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from pyro_vae.figures._checks import Array, not_empty, positive, shaped
from pyro_vae.figures.style import REFERENCE_COLOUR, TEXT, TITLE, method_colours, plain


def signal_to_noise(
    panels: Mapping[str, Mapping[str, Array]],
    particles: Array,
    *,
    powers: Mapping[str, Mapping[str, float]] | None = None,
    floor: float | None = None,
) -> Figure:
    """The signal-to-noise ratio of a gradient against the number of particles K, a line for each
    estimator, both axes logarithmic; beside each line, dashed, the power of K that theory says.

    Args:
        panels: title (whose parameters) → estimator → ratio at each K, [points].
        particles: [points], increasing.
        powers: title → estimator → the exponent of K to compare with, such as −½; drawn through
            the curve's first point.
        floor: below about this the estimate cannot tell a ratio from zero; drawn as a dotted line.

    Raises:
        ValueError: no panel; a curve that is not a positive [points]; more than seven estimators.

    Source: Rainforth et al., "Tighter Variational Bounds are Not Necessarily Better" (2018);
    Tucker et al., "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives" (2019).

    >>> import numpy as np
    >>> k = np.array([1, 4, 16])
    >>> curves = {"encoder": {"IWAE": 0.3 * k**-0.4, "DReG": 0.4 * k**0.5}}
    >>> figure = signal_to_noise(curves, k, powers={"encoder": {"IWAE": -0.5, "DReG": 0.5}})
    >>> figure.axes[0].get_title()
    'encoder'
    """
    where = "signal_to_noise"
    not_empty(panels, f"{where}: panels")
    particles = shaped(particles, ("points",), f"{where}: particles", "Give the numbers K.")
    figure = Figure(figsize=(3.4 * len(panels), 3.2), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    colours = method_colours(names)
    for axes, (title, curves) in zip(grid, panels.items(), strict=True):
        for number, (name, curve) in enumerate(curves.items()):
            advice = "Give one ratio for each K."
            curve = positive(curve, (len(particles),), f"{where}: {title}, {name}", advice)
            # Filled and open marks in turn: equal curves are seen to be two.
            style = {"markersize": 4} if number % 2 == 0 else {"markersize": 7, "mfc": "none"}
            axes.plot(particles, curve, "o-", color=colours[name], label=name, **style)
            if power := (powers or {}).get(title, {}).get(name):
                _slope(axes, particles, curve, power, colours[name])
        if floor is not None:
            axes.axhline(floor, color=REFERENCE_COLOUR, linewidth=1, linestyle=(0, (1, 1.5)))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(particles, [f"{k:g}" for k in particles])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlabel("particles K", fontsize=TEXT)
        axes.set_title(title, fontsize=TITLE)
        plain(axes)
    grid[0].set_ylabel("signal-to-noise ratio", fontsize=TEXT)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=TEXT
    )
    return figure


def _slope(axes: Axes, particles: Array, curve: Array, power: float, colour: str) -> None:
    """K^power through the first point."""
    line = curve[0] * (particles / particles[0]) ** power
    axes.plot(particles, line, color=colour, linewidth=0.8, linestyle=(0, (5, 2)))
