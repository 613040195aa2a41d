"""What latents carry: rate and distortion, KL by dimension, the aggregate posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import gaussian_kde

from pyro_vae.figures._checks import Array, finite, not_empty
from pyro_vae.figures.style import (
    METHOD_COLOURS,
    REFERENCE_COLOUR,
    TEXT,
    TICK,
    TITLE,
    lettered,
    method_colours,
    panel_row,
    plain,
)

_NAMED = 16  # latents at the most; numbers under more bars would run into one another


def rate_distortion_plane(models: Mapping[str, tuple[Array, Array]]) -> Figure:
    """Models in the plane of rate and distortion, a point each, or a line of points where one has
    several, such as the β of a β-VAE. Dashed diagonals have one bound, −(R + D), written on them:
    down and to the left is better, along a diagonal is a choice.

    Args:
        models: name → (rates [points], distortions [points]), in nats a datum.

    Raises:
        ValueError: no model; rates and distortions that are not finite and of one length; more than
            seven models.

    Source: Alemi et al., "Fixing a Broken ELBO" (2018), figure 1.

    >>> plane = {"VAE": (np.array([20.0]), np.array([75.0]))}
    >>> figure = rate_distortion_plane(plane)
    >>> figure.axes[0].get_xlabel()
    'rate R, nats'
    """
    where = "rate_distortion_plane"
    not_empty(models, f"{where}: models")
    points = {name: _points(each, f"{where}: models[{name!r}]") for name, each in models.items()}
    figure = Figure(figsize=(4.6, 3.9), layout="constrained")
    axes = figure.subplots()
    for name, colour in method_colours(points).items():
        rate, distortion = points[name]
        axes.plot(
            rate,
            distortion,
            "o-",
            color=colour,
            markersize=5,
            linewidth=1.2,
            label=name,
            clip_on=False,  # a rate of zero lies on the axis
        )
    axes.margins(0.12)
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    _draw_bounds(axes)
    axes.set_xlabel("rate R, nats", fontsize=TEXT)
    axes.set_ylabel("distortion D, nats", fontsize=TEXT)
    plain(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=TEXT)
    return figure


def kl_per_dimension(
    panels: Mapping[str, Array], *, marginal: Mapping[str, Array] | None = None
) -> Figure:
    """The rate of each latent dimension, largest first, a panel a model on one scale. Where given,
    KL(q(z_j) ‖ p(z_j)) is the pale part: what is paid and says nothing of x; the dark part is
    I(x; z_j).

    Args:
        panels: name → E KL(q(z_j|x) ‖ p(z_j)), [latent] (each may have its own), in nats.
        marginal: name → KL(q(z_j) ‖ p(z_j)), [latent], in the same order of latents.

    Raises:
        ValueError: no panel; arrays that are not a finite [latent]; marginals of other models than
            the panels'.

    Source: Hoffman and Johnson, "ELBO surgery" (2016).

    >>> figure = kl_per_dimension({"VAE": np.array([0.1, 3.0])})
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['1', '0']
    """
    where = "kl_per_dimension"
    not_empty(panels, f"{where}: panels")
    kls = {
        n: finite(v, ("latent",), f"{where}: {n}", "Give one a latent.") for n, v in panels.items()
    }
    marginals = _marginals(marginal or {}, kls, f"{where}: marginal")
    figure, grid = panel_row(len(kls), 3.0, most=3)
    top = 1.05 * max(float(kl.max()) for kl in kls.values())
    for axes, title, (name, kl) in zip(grid, lettered(kls), kls.items(), strict=True):
        _bars(axes, kl, marginals.get(name))
        axes.set_ylim(0, top or 1.0)
        axes.set_title(title, fontsize=TITLE)
        plain(axes)
    grid[0].set_ylabel("KL, nats", fontsize=TEXT)
    if marginals:
        _legend(figure, grid[0])
    return figure


def aggregate_marginals(
    draws: Array,
    prior_draws: Array,
    *,
    latents: Sequence[str] | None = None,
    dimensions: Sequence[int] | None = None,
) -> Figure:
    """The aggregate posterior against the prior, a panel a latent dimension: a histogram of draws
    z ~ q(z), and as a line the density of the prior, a kernel estimate from its draws. Bars above
    the line are where the decoder is trained and the prior seldom samples; bars below it are holes.

    Args:
        draws: z ~ q(z), [draws, latent].
        prior_draws: z ~ p(z), [any number, latent], two or more that differ.
        latents: the dimensions' names, [latent]; their numbers by default.
        dimensions: which to draw; by default the first six.

    Raises:
        ValueError: draws that are not a finite [draws, latent], or of two numbers of latents; equal
            draws of the prior; names of another number; a dimension that there is not.

    Source: Hoffman and Johnson, "ELBO surgery" (2016); Rosca et al., "Distribution Matching in
    Variational Inference" (2018).

    >>> rng = np.random.default_rng(0)
    >>> figure = aggregate_marginals(rng.normal(size=(200, 3)), rng.normal(size=(200, 3)))
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['z[0]', 'z[1]', 'z[2]']
    """
    where = "aggregate_marginals"
    draws = finite(draws, ("draws", "latent"), f"{where}: draws", "Put a draw in each row.")
    count = draws.shape[1]
    prior_draws = finite(
        prior_draws, ("draws", count), f"{where}: prior_draws", "Give draws of the same latents."
    )
    names = [f"z[{j}]" for j in range(count)] if latents is None else list(latents)
    if len(names) != count:
        raise ValueError(f"{where}: latents: expected {count} names; got {len(names)}.")
    chosen = list(range(count))[:6] if dimensions is None else list(dimensions)
    if not chosen or not set(chosen) <= set(range(count)):
        raise ValueError(f"{where}: dimensions: expected some from 0 to {count - 1}; got {chosen}.")
    if not (np.ptp(prior_draws[:, chosen], axis=0) > 0).all():
        raise ValueError(
            f"{where}: prior_draws: expected draws that differ; got equal ones. Give many."
        )
    figure, grid = panel_row(len(chosen), 2.3, most=3)
    for axes, j in zip(grid, chosen, strict=True):
        _marginal(axes, draws[:, j], prior_draws[:, j])
        axes.set_xlabel(names[j], fontsize=TEXT)
    _legend(figure, grid[0])
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT
    )


def _points(values: tuple[Array, Array], where: str) -> tuple[Array, Array]:
    advice = "Give a rate and a distortion for each point."
    rate = finite(values[0], ("points",), f"{where}: rates", advice)
    return rate, finite(values[1], rate.shape, f"{where}: distortions", advice)


def _draw_bounds(axes: Axes) -> None:
    """Diagonals of equal R + D at round numbers, each with its bound where it enters."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    totals = np.asarray(MaxNLocator(6).tick_values(left + low, right + high))
    within = totals[(totals > left + low) & (totals < right + high)]
    for number, total in enumerate(within):
        axes.plot(
            (left, right),
            (total - left, total - right),
            color=REFERENCE_COLOUR,
            linewidth=0.7,
            linestyle=(0, (4, 3)),
            zorder=0,
            label="bound −(R + D)" if number == 0 else None,
        )
        x = max(left, total - high)
        axes.annotate(
            f"{-total:g}".replace("-", "\N{MINUS SIGN}"),
            (x, total - x),
            xytext=(4, -4),
            textcoords="offset points",
            color=REFERENCE_COLOUR,
            fontsize=TICK,
            va="top",
            zorder=1,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )


def _marginals(
    marginal: Mapping[str, Array], kls: Mapping[str, Array], where: str
) -> dict[str, Array]:
    if marginal and set(marginal) != set(kls):
        raise ValueError(
            f"{where}: expected the names {list(kls)}; got {list(marginal)}. Give one for each "
            "panel, or for none."
        )
    return {
        name: finite(value, kls[name].shape, f"{where}: {name}", "Give one a latent.")
        for name, value in marginal.items()
    }


def _bars(axes: Axes, kl: Array, marginal: Array | None) -> None:
    order = np.argsort(-kl, kind="stable")
    place = np.arange(len(kl))
    carried = kl if marginal is None else np.clip(kl - marginal, 0, None)
    axes.bar(place, carried[order], color=METHOD_COLOURS[0], label="$I(x; z_j)$")
    if marginal is not None:
        rest = (kl - carried)[order]
        axes.bar(
            place,
            rest,
            bottom=carried[order],
            color=METHOD_COLOURS[5],
            label=r"KL($q(z_j)$ ‖ $p(z_j)$)",
        )
    named = len(kl) <= _NAMED
    axes.set_xticks(place if named else [], order.astype(str) if named else [])
    axes.set_xlabel("latent, by its KL" if named else f"{len(kl)} latents, by KL", fontsize=TEXT)


def _marginal(axes: Axes, draws: Array, prior_draws: Array) -> None:
    low, high = np.quantile(np.concatenate([draws, prior_draws]), [0.001, 0.999])
    axes.hist(
        draws,
        bins=np.linspace(low, high, 41).tolist(),
        density=True,
        color=METHOD_COLOURS[0],
        alpha=0.55,
        label="aggregate posterior",
    )
    grid = np.linspace(low, high, 300)
    axes.plot(
        grid, gaussian_kde(prior_draws)(grid), color=REFERENCE_COLOUR, linewidth=1.4, label="prior"
    )
    axes.set_yticks([])
    plain(axes)
    axes.spines["left"].set_visible(False)
