"""The experiment's figures, from saved results; nothing is trained here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.limits.config import Config
from experiments.limits.jobs import CHANNEL, folder_of
from pyro_vae import figures
from pyro_vae.data.densities import DENSITIES
from pyro_vae.figures.style import REFERENCE_COLOUR, TEXT, TITLE, method_colours, plain

__all__ = ["draw"]

_APART = 1.2  # the factor between the densities' places at one ε

_LIMIT = (
    "How far minus the ELBO of the Σ-VAE is above the exact negative log-likelihood of the flow it "
    "is built around, against its noise ε: medians over the points, and bars from the first to the "
    "third quartile, side by side though the ε are the same. Dashed: ε² through the last one."
)
_CHANNEL = (
    "What a latent dimension costs against the capacity of the Gaussian channel it is. (a) In "
    "theory: a posterior of power P and noise N; where P + N = 1 the KL is the capacity, on the "
    "line. (b) The latent dimensions of a VAE of the digits, averages over held-out images."
)


def draw(config: Config, root: Path) -> dict[str, str]:
    """Draw every figure into ``root / "figures"``; name → caption."""
    found = {name: folder_of(root, name).result() for name in config.densities}
    drawn = {
        "sigma_vae.png": (_limit(config, found), _LIMIT),
        "channel.png": (_channel(folder_of(root, CHANNEL).arrays()), _CHANNEL),
    }
    for name, (figure, _) in drawn.items():
        figures.save(figure, root / "figures" / name)
    return {name: caption for name, (_, caption) in drawn.items()}


def _limit(config: Config, found: Mapping[str, Mapping[str, Any]]) -> Figure:
    figure = Figure(figsize=(4.4, 3.4), layout="constrained")
    axes = figure.subplots()
    epsilons = np.array(config.epsilons)
    colours = method_colours(found)
    for place, (name, result) in enumerate(found.items()):
        low, median, high = np.array(result["quartiles"]).T
        at = epsilons * _APART ** (place - (len(found) - 1) / 2)
        bars = np.stack([median - low, high - median])
        style: dict[str, Any] = {"fmt": "o-", "markersize": 4, "linewidth": 1.3}
        style |= {"color": colours[name]}
        axes.errorbar(at, median, bars, label=DENSITIES[name].name, **style)
        line = median[-1] * (epsilons / epsilons[-1]) ** 2
        axes.plot(at, line, color=REFERENCE_COLOUR, linewidth=0.8, linestyle=(0, (5, 2)))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("noise ε", fontsize=TEXT)
    axes.set_ylabel("−ELBO less −log p, nats", fontsize=TEXT)
    axes.legend(frameon=False, fontsize=TEXT)
    plain(axes)
    return figure


def _channel(found: Mapping[str, NDArray[Any]]) -> Figure:
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    theory, measured = figure.subplots(1, 2)
    noise = np.geomspace(0.003, 1.0, 100)
    capacity = -0.5 * np.log2(noise)
    totals = {f"P + N = {total:g}": total for total in (1.0, 2.0, 4.0)}
    colours = method_colours(totals)
    for label, total in totals.items():
        kl = capacity + 0.5 * (total - 1) / math.log(2)
        theory.plot(capacity, kl, color=colours[label], linewidth=1.3, label=label)
    theory.legend(frameon=False, fontsize=TEXT)
    in_bits = {name: found[name] / math.log(2) for name in ("capacity", "kl")}
    first = next(iter(colours.values()))
    measured.plot(in_bits["capacity"], in_bits["kl"], "o", color=first, markersize=4)
    highest = 1.05 * max(float(values.max()) for values in in_bits.values())
    measured.plot([0, highest], [0, highest], color=REFERENCE_COLOUR, linewidth=0.8)
    for axes, title in ((theory, "(a) a Gaussian posterior"), (measured, "(b) a trained VAE")):
        axes.set_title(title, fontsize=TITLE)
        axes.set_xlabel("capacity R = −½ log₂ N, bits", fontsize=TEXT)
        axes.set_ylabel("KL, bits", fontsize=TEXT)
        plain(axes)
    return figure
