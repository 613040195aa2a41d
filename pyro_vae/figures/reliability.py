"""How far each datum's posterior can be trusted: Pareto k̂, and the data where it is worst."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pyro_vae.figures._checks import Array, not_empty, shaped
from pyro_vae.figures.images import centres, gap_between
from pyro_vae.figures.images import reconstructions as beside_originals
from pyro_vae.figures.style import REFERENCE_COLOUR, TEXT, TICK, method_colours, plain, signed


def sorted_pareto_k(methods: Mapping[str, Array], *, threshold: float = 0.7) -> Figure:
    """Pareto k̂ of each datum's importance weights, sorted, a line a method, and the threshold above
    which an estimate of log p(x) is not to be trusted; the legend says which share lies above.

    Limits hold every method's central 99 % and the threshold; what lies beyond, ±∞ too, is drawn
    on the edge.

    Args:
        methods: name → k̂ of each datum, [N] (each may have its own N); ±∞ is let through.
        threshold: min(1 − 1/log₁₀ S, 0.7) for S samples a datum.

    Raises:
        ValueError: no method, k̂ that are not [N], or NaN; more than seven methods.

    Source: Vehtari et al., "Pareto Smoothed Importance Sampling" (2024), eq. 13.

    >>> k = {"diagonal": np.array([0.2, 0.9, 0.4, 0.8]), "flow": np.array([0.1, 0.3, 0.0, 0.2])}
    >>> figure = sorted_pareto_k(k, threshold=0.67)
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['diagonal (50 % above)', 'flow (0 % above)']
    """
    where = "sorted_pareto_k"
    not_empty(methods, f"{where}: methods")
    ks = {name: _k(k, ("N",), f"{where}: methods[{name!r}]") for name, k in methods.items()}
    figure = Figure(figsize=(5.0, 3.3), layout="constrained")
    axes = figure.subplots()
    low, high = _limits([*ks.values(), np.array([threshold])])
    for name, colour in method_colours(ks).items():
        k = np.sort(ks[name])
        place = (np.arange(len(k)) + 0.5) / len(k)
        label = f"{name} ({_percent((k > threshold).mean())} above)"
        height = np.clip(k, low, high)
        axes.plot(place, height, color=colour, linewidth=1.6, label=label, clip_on=False, zorder=3)
    _draw_threshold(axes, threshold)
    axes.set_xlim(0, 1)
    axes.set_ylim(low, high)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel(r"data, by their $\hat k$", fontsize=TEXT)
    axes.set_ylabel(r"Pareto $\hat k$", fontsize=TEXT)
    plain(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT)
    return figure


def worst_images(
    originals: Array,
    reconstructions: Mapping[str, Array],
    k: Array,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Images above their reconstructions, the one with the largest Pareto k̂ on the left, and over
    each its k̂: what the data look like whose posteriors are worst.

    Args:
        originals: [N, H, W], or [N, 3, H, W] in red, green and blue; a dozen are well seen.
        reconstructions: method → the same shape, of the same images in the same order.
        k: [N], in the same order too; ±∞ is let through.
        value_range: the values drawn black and white; what lies beyond is clipped.

    Raises:
        ValueError: no method; arrays of other shapes; a NaN among k.

    >>> digits = np.zeros((3, 8, 8))
    >>> figure = worst_images(digits, {"ELBO": digits}, np.array([0.8, 1.31, 0.95]))
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['1.31', '0.95', '0.80']
    """
    where, advice = "worst_images", "Reconstruct the images given as originals."
    k = _k(k, (len(originals),), f"{where}: k")
    order = np.argsort(-k, kind="stable")
    ordered = {
        name: shaped(each, originals.shape, f"{where}: reconstructions[{name!r}]", advice)[order]
        for name, each in reconstructions.items()
    }
    figure = beside_originals(originals[order], ordered, value_range=value_range)
    (axes,) = figure.axes
    height, width = originals.shape[-2:]
    across = centres(len(k), width, gap_between(height, width))
    axes.set_xticks(across, [_number(each) for each in k[order]], fontsize=TICK)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.annotate(
        r"$\hat k$",
        (0, 1),
        xytext=(-4, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        fontsize=TEXT,
    )
    return figure


def _k(value: Array, shape: tuple[int | str, ...], where: str) -> Array:
    k = shaped(value, shape, where, "Give the k̂ of each datum.")
    if np.isnan(k).any():
        raise ValueError(f"{where}: expected numbers; got NaN. Leave out the data without a k̂.")
    return k


def _draw_threshold(axes: Axes, threshold: float) -> None:
    axes.axhline(threshold, color=REFERENCE_COLOUR, linewidth=1, linestyle=(0, (5, 2)))
    axes.annotate(
        f"threshold {_number(threshold)}",
        (0.01, threshold),
        xytext=(0, 3),
        textcoords="offset points",
        color=REFERENCE_COLOUR,
        fontsize=TICK,
    )


def _limits(ks: list[Array]) -> tuple[float, float]:
    """Hold the central 99 % of what is finite in each, and a margin."""
    ranges = [np.quantile(k[np.isfinite(k)], [0.005, 0.995]) for k in ks if np.isfinite(k).any()]
    low, high = np.min(ranges), np.max(ranges)
    margin = 0.08 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _number(k: float) -> str:
    return signed(k).replace("inf", "∞")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
