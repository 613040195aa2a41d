"""What latents carry: rate and distortion, KL by dimension, the aggregate posterior."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy.stats import gaussian_kde, norm

from pyro_vae.figures._checks import Array, finite, not_empty, positive
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
_CENTRAL = (0.001, 0.999)
_MARKERS = "osD^vP*"
_ROOM = (0.15, 0.09)  # of the plane's width and height, which the number on a diagonal takes


def rate_distortion_plane(
    models: Mapping[str, tuple[Array, Array]], *, points: Sequence[str] | None = None
) -> Figure:
    """Models in the plane of rate and distortion, a point each, or a line of points where one has
    several, such as the β of a β-VAE. Dashed diagonals have one bound, −(R + D), written on them:
    down and to the left is better, along a diagonal is a choice.

    Args:
        models: name → (rates [points], distortions [points]), in nats a datum.
        points: what each model's points are, in their order, such as objectives: a marker each.

    Raises:
        ValueError: no model; rates and distortions that are not finite and of one length; names of
            points of another number, or of more than seven; more than seven models.

    Source: Alemi et al., "Fixing a Broken ELBO" (2018), figure 1.

    >>> plane = {"VAE": (np.array([20.0]), np.array([75.0]))}
    >>> figure = rate_distortion_plane(plane)
    >>> figure.axes[0].get_xlabel()
    'rate R, nats'
    """
    where = "rate_distortion_plane"
    not_empty(models, f"{where}: models")
    places = {name: _points(each, f"{where}: models[{name!r}]") for name, each in models.items()}
    markers = _markers(points, places, f"{where}: points")
    colours = method_colours(places)
    figure = Figure(figsize=(4.6, 3.9), layout="constrained")
    axes = figure.subplots()
    for name, (rate, distortion) in places.items():
        _draw_model(axes, rate, distortion, colours[name], list(markers.values()), name)
    axes.margins(0.12)
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    _draw_bounds(axes)
    axes.set_xlabel("rate R, nats", fontsize=TEXT)
    axes.set_ylabel("distortion D, nats", fontsize=TEXT)
    plain(axes)
    _plane_legend(figure, colours, markers)
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
    prior_draws: Array | None = None,
    *,
    normal: tuple[Array, Array] | None = None,
    latents: Sequence[str] | None = None,
    dimensions: Sequence[int] | None = None,
) -> Figure:
    """The aggregate posterior against the prior, a panel a latent dimension: a histogram of draws
    z ~ q(z), and as a line the density of the prior: that of a normal where it is one, else a
    kernel estimate from its draws. Bars above the line are where the decoder is trained and the
    prior seldom samples; bars below it are holes.

    Args:
        draws: z ~ q(z), [draws, latent].
        prior_draws: z ~ p(z), [any number, latent], two or more that differ; or instead
        normal: means and standard deviations, [latent] each, of a prior that is a normal in each
            latent.
        latents: the dimensions' names, [latent]; their numbers by default.
        dimensions: which to draw; by default the first six.

    Raises:
        ValueError: draws that are not a finite [draws, latent], or of two numbers of latents; equal
            draws of the prior; both of ``prior_draws`` and ``normal``, or neither; deviations that
            are not above 0; names of another number; a dimension that there is not.

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
    names = [f"z[{j}]" for j in range(count)] if latents is None else list(latents)
    if len(names) != count:
        raise ValueError(f"{where}: latents: expected {count} names; got {len(names)}.")
    chosen = list(range(count))[:6] if dimensions is None else list(dimensions)
    if not chosen or not set(chosen) <= set(range(count)):
        raise ValueError(f"{where}: dimensions: expected some from 0 to {count - 1}; got {chosen}.")
    priors = _priors(prior_draws, normal, count, chosen, where)
    figure, grid = panel_row(len(chosen), 2.3, most=3)
    for axes, j, prior in zip(grid, chosen, priors, strict=True):
        _marginal(axes, draws[:, j], prior)
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


def _markers(
    points: Sequence[str] | None, places: Mapping[str, tuple[Array, Array]], where: str
) -> dict[str, str]:
    """By the name of a point; none where points have no names."""
    if points is None:
        return {}
    counts = {name: len(rate) for name, (rate, _) in places.items()}
    if set(counts.values()) != {len(points)} or len(points) > len(_MARKERS):
        raise ValueError(
            f"{where}: expected as many as each model has points, {len(_MARKERS)} at the most; got "
            f"{len(points)} for {counts}. Name each point once, or none."
        )
    return dict(zip(points, _MARKERS, strict=False))


def _draw_model(
    axes: Axes, rate: Array, distortion: Array, colour: str, markers: list[str], name: str
) -> None:
    """A line through a model's points. It may leave the axes: a rate of zero lies on one."""
    style: dict[str, Any] = {"color": colour, "markersize": 5, "clip_on": False}
    marker = "" if markers else "o"
    axes.plot(rate, distortion, marker=marker, linewidth=1.2, label=name, **style)
    for x, y, each in zip(rate, distortion, markers, strict=False):
        axes.plot([x], [y], linestyle="", marker=each, **style)


def _plane_legend(figure: Figure, colours: Mapping[str, str], markers: Mapping[str, str]) -> None:
    own = "" if markers else "o"
    handles = [
        *(_handle(name, colour, own) for name, colour in colours.items()),
        Line2D([], [], label="bound −(R + D)", **_DIAGONAL),
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=TEXT
    )
    if markers:
        inside = [_handle(n, REFERENCE_COLOUR, m, linestyle="") for n, m in markers.items()]
        (axes,) = figure.axes
        axes.legend(handles=inside, framealpha=1.0, edgecolor="none", fontsize=TEXT)


def _handle(name: str, colour: str, marker: str, **more: Any) -> Line2D:
    return Line2D(
        [], [], color=colour, marker=marker, markersize=5, linewidth=1.2, label=name, **more
    )


_DIAGONAL: dict[str, Any] = {
    "color": REFERENCE_COLOUR,
    "linewidth": 0.7,
    "linestyle": (0, (4, 3)),
}


def _draw_bounds(axes: Axes) -> None:
    """Diagonals of equal R + D at round numbers, each with its bound where it enters; none where
    there is no room for that."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    totals = np.asarray(MaxNLocator(6).tick_values(left + low, right + high))
    width, height = _ROOM[0] * (right - left), _ROOM[1] * (high - low)
    for total in totals:
        x = max(left, total - high)
        if x > right - width or total - x < low + height:
            continue
        axes.plot((left, right), (total - left, total - right), zorder=0, **_DIAGONAL)
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


@dataclass(frozen=True)
class _Prior:
    """The density of a latent, and where 99.8 % of it are."""

    density: Callable[[Array], Array]
    range: Array


def _priors(
    draws: Array | None,
    normal: tuple[Array, Array] | None,
    count: int,
    chosen: list[int],
    where: str,
) -> list[_Prior]:
    if normal is not None and draws is None:
        mean = finite(normal[0], (count,), f"{where}: normal: means", "Give one a latent.")
        deviation = positive(normal[1], (count,), f"{where}: normal: deviations", "Give σ, not σ².")
        return [_of_normal(float(mean[j]), float(deviation[j])) for j in chosen]
    if draws is None or normal is not None:
        got = "neither" if draws is None else "both"
        raise ValueError(f"{where}: expected prior_draws or normal; got {got}. Give one of them.")
    checked = finite(
        draws, ("draws", count), f"{where}: prior_draws", "Give draws of the same latents."
    )
    if not (np.ptp(checked[:, chosen], axis=0) > 0).all():
        raise ValueError(
            f"{where}: prior_draws: expected draws that differ; got equal ones. Give many."
        )
    return [_of_draws(checked[:, j]) for j in chosen]


def _of_normal(mean: float, deviation: float) -> _Prior:
    prior = norm(mean, deviation)
    return _Prior(prior.pdf, prior.ppf(_CENTRAL))


def _of_draws(draws: Array) -> _Prior:
    return _Prior(gaussian_kde(draws), np.quantile(draws, _CENTRAL))


def _marginal(axes: Axes, draws: Array, prior: _Prior) -> None:
    ends = np.stack([np.quantile(draws, _CENTRAL), prior.range])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    axes.hist(
        draws,
        bins=np.linspace(low, high, 41).tolist(),
        density=True,
        color=METHOD_COLOURS[0],
        alpha=0.55,
        label="aggregate posterior",
    )
    grid = np.linspace(low, high, 300)
    axes.plot(grid, prior.density(grid), color=REFERENCE_COLOUR, linewidth=1.4, label="prior")
    axes.set_yticks([])
    plain(axes)
    axes.spines["left"].set_visible(False)
