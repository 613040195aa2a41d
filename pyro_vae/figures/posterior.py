"""Where a guide puts the posterior of each datum, and how wide."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from pyro_vae.figures._checks import Array, finite, not_empty, positive, shaped
from pyro_vae.figures._scatter import (
    Labels,
    label_colours,
    label_legend,
    scatter_by_label,
)
from pyro_vae.figures.style import (
    METHOD_COLOURS,
    TEXT,
    TITLE,
    lettered,
    panel_row,
    plain,
    signed,
)


def posterior_means(
    panels: Mapping[str, tuple[Array, Labels]], *, bounds: Mapping[str, float] | None = None
) -> Figure:
    """Posterior means of a two-dimensional latent space coloured by label, a panel a method.

    A panel holds the central 99 % of either coordinate at equal aspect. A label of one or two
    letters stands where its points are densest and mostly its own, clear of other labels; it stands
    in the legend alone where there is no such place, and all do where there is none for most. Means
    that are all but one point are called collapsed. Points are drawn in a fixed random order,
    rasterised.

    Args:
        panels: method → (means [N, 2], labels [N] or None for one colour).
        bounds: method → its bound in nats, written under the title.

    Raises:
        ValueError: no panel; means that are not [N, 2] or not finite; labels that are not [N];
            more than ten distinct labels; a bound for a method that has no panel.

    Source: Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder", figures 2 and 5.

    >>> means, labels = np.array([[0.0, 1.0], [2.0, -1.0]]), np.array([3, 8])
    >>> figure = posterior_means({"BILBO": (means, labels)}, bounds={"BILBO": -134.3})
    >>> print(figure.axes[0].get_title())
    BILBO
    −134.30 nats
    """
    where = "posterior_means"
    not_empty(panels, f"{where}: panels")
    bounds = _known(bounds or {}, panels, f"{where}: bounds")
    checked = {name: _labelled(f"{where}: panels[{name!r}]", *p) for name, p in panels.items()}
    colours = label_colours((labels for _, labels in checked.values()), where)
    figure, grid = panel_row(len(checked), 2.5)
    for axes, title, name in zip(grid, lettered(checked), checked, strict=True):
        means, labels = checked[name]
        scatter_by_label(axes, means, labels, colours)
        under = f"\n{signed(bounds[name])} nats" if name in bounds else ""
        axes.set_title(title + under, fontsize=TITLE)
        axes.set_xlabel(r"$\mu_1$", fontsize=TEXT)
        axes.set_ylabel(r"$\mu_2$", fontsize=TEXT)
    label_legend(figure, colours)
    return figure


def posterior_variance_against_mean(
    panels: Mapping[str, tuple[Array, Array]], prior_variance: Array | None = None
) -> Figure:
    """Learned posterior variances against posterior means, both relative to the prior, run by run.

    A run is a block of four panels: row i shows σᵢ²/sᵢ², column j shows μⱼ/sⱼ, for the first two
    latent dimensions, where s² is the prior variance. A U on the diagonal and nothing off it says
    that variances grow at the fringes of the prior and reveal no structure of the data. Vertical
    limits are the same everywhere and hold 99.5 % of the values.

    Args:
        panels: run → (means [N, n], variances [N, n]), n ≥ 2.
        prior_variance: [n], of every run; ones if None. Divide beforehand where runs differ.

    Raises:
        ValueError: no panel; means that are not [N, n] with n ≥ 2, variances of another shape,
            either not finite; a prior variance that is not [n] or not positive.

    Source: Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder", figure 3.

    >>> means = np.array([[-2.0, 0.5], [0.0, -0.5], [2.0, 0.0]])
    >>> runs = {"run 1": (means, 0.01 * (1 + means**2))}
    >>> len(posterior_variance_against_mean(runs, np.array([1.0, 1.0])).axes)
    4
    """
    where = "posterior_variance_against_mean"
    not_empty(panels, f"{where}: panels")
    runs = [_relative(where, name, *run, prior_variance) for name, run in panels.items()]
    top = 1.08 * max(float(np.quantile(variances, 0.995)) for _, variances in runs)
    figure = Figure(figsize=(2.7 * len(runs), 2.9), layout="constrained")
    blocks = figure.subfigures(1, len(runs), squeeze=False, wspace=0.04).ravel()
    for block, title, (means, variances) in zip(blocks, lettered(panels), runs, strict=True):
        _variance_block(block, means, variances, top or 1.0)
        block.suptitle(title, fontsize=TITLE)
    return figure


def _labelled(where: str, means: Array, labels: Labels) -> tuple[Array, Labels]:
    means = finite(means, ("N", 2), f"{where}: means", "Choose two latent dimensions to draw.")
    if labels is not None:
        labels = shaped(labels, (len(means),), f"{where}: labels", "Give one label a mean.")
    return means, labels


def _known(
    bounds: Mapping[str, float], panels: Mapping[str, object], where: str
) -> Mapping[str, float]:
    unknown = sorted(set(bounds) - set(panels))
    if unknown:
        raise ValueError(
            f"{where}: expected names among {list(panels)}; got {unknown}. Name them as the panels."
        )
    return bounds


def _relative(
    where: str, name: str, means: Array, variances: Array, prior_variance: Array | None
) -> tuple[Array, Array]:
    """The first two dimensions of μ/s and σ²/s²."""
    run = f"{where}: panels[{name!r}]"
    means = finite(means, ("N", "n"), f"{run}: means", "Put a datum in each row.")
    count, dims = means.shape
    if dims < 2:
        raise ValueError(
            f"{run}: means: expected shape [N, n] with n ≥ 2; got {means.shape}. "
            "One dimension has no other to be compared with."
        )
    variances = finite(
        variances, (count, dims), f"{run}: variances", "Give the variance of every mean."
    )
    prior = np.ones(dims) if prior_variance is None else prior_variance
    prior = positive(
        prior, (dims,), f"{where}: prior_variance", "Give one variance a latent dimension."
    )
    return (means / np.sqrt(prior))[:, :2], (variances / prior)[:, :2]


def _variance_block(block: SubFigure, means: Array, variances: Array, top: float) -> None:
    grid = block.subplots(2, 2, sharex="col", sharey=True)
    for (row, column), axes in np.ndenumerate(grid):
        _variance_panel(axes, means[:, column], variances[:, row])
        axes.set_ylim(0, top)
        if row == 1:
            axes.set_xlabel(rf"$\mu_{column + 1} \, / \, s_{column + 1}$", fontsize=TEXT)
        if column == 0:
            axes.set_ylabel(rf"$\sigma_{row + 1}^2 \, / \, s_{row + 1}^2$", fontsize=TEXT)


def _variance_panel(axes: Axes, means: Array, variances: Array) -> None:
    size = float(np.clip(4_000 / len(means), 0.8, 10.0))
    axes.scatter(
        means, variances, s=size, c=METHOD_COLOURS[0], alpha=0.4, edgecolors="none", rasterized=True
    )
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", nbins=3, integer=True)  # the panels are narrow
    plain(axes)
