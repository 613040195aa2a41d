"""A two-dimensional latent space as the decoder shows it, beside the data encoded there."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from pyro_vae.figures._checks import Array, finite, positive, shaped
from pyro_vae.figures._scatter import (
    Labels,
    label_colours,
    label_legend,
    scatter_by_label,
)
from pyro_vae.figures.images import centres, draw_mosaic
from pyro_vae.figures.style import TEXT, TICK

_GAP = 1  # pixels between pictures, which are to be seen as one surface


def inverse_cdf_grid(n: int, scale: Array, *, margin: float = 0.0) -> Array:
    """An n × n grid of latent points, evenly spaced in probability under N(0, diag(scale²)).

    The probabilities are (i + ½)/n on either axis, or as many evenly within [margin, 1 − margin].
    Row 0 has the largest second coordinate and column 0 the smallest first one, so decoded images
    laid out row by row match the axes of a scatter plot.

    Args:
        n: points on a side, 1 or more.
        scale: [2], the prior's standard deviations.
        margin: probability left out at either end, in [0, ½).

    Returns:
        [n, n, 2], in the latent space's units.

    Raises:
        ValueError: `n` below 1; a scale that is not [2] or not positive; `margin` outside [0, ½).

    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", figure 4.

    >>> inverse_cdf_grid(3, np.array([1.0, 2.0]))[0].round(2)
    array([[-0.97,  1.93],
           [ 0.  ,  1.93],
           [ 0.97,  1.93]])
    """
    where = "inverse_cdf_grid"
    if n < 1:
        raise ValueError(f"{where}: n: expected 1 or more points a side; got {n}. Try 20.")
    if not 0 <= margin < 0.5:
        raise ValueError(
            f"{where}: margin: expected a probability in [0, 0.5); got {margin}. Try 0.01."
        )
    scale = positive(scale, (2,), f"{where}: scale", "Give two standard deviations.")
    quantiles = norm.ppf(margin + (1 - 2 * margin) * (np.arange(n) + 0.5) / n)
    first, second = np.meshgrid(quantiles * scale[0], quantiles[::-1] * scale[1])
    return np.stack([first, second], axis=-1)


def latent_manifold(
    images: Array,
    means: Array,
    samples: Array,
    labels: Labels = None,
    *,
    latents: Array | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """The decoded latent plane (left), posterior means μ (upper right), samples z (lower right).

    Both scatters have the same limits, which hold the central 99 % of the samples and means.

    Args:
        images: [rows, cols, H, W], the decoder's means on `inverse_cdf_grid`.
        means: [N, 2], the posterior mean of each datum.
        samples: [N, 2], a single draw from each posterior.
        labels: [N], or None for one colour.
        latents: [rows, cols, 2], what `images` decode, as from `inverse_cdf_grid`: a few of their
            values are written at the axes; None for none.
        value_range: the values drawn black and white; what lies beyond is clipped.

    Raises:
        ValueError: an array of another shape; means or samples that are not finite; more than ten
            distinct labels; latents that are not two to an image.

    Source: Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder", figures 12, 13.

    >>> means = np.array([[0.0, 1.0], [2.0, -1.0]])
    >>> figure = latent_manifold(np.zeros((3, 3, 8, 8)), means, means + 0.1, np.array([3, 8]))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['quantiles of $z_2$', '$\\\\mu_2$', '$z_2$']
    """
    where = "latent_manifold"
    means = finite(means, ("N", 2), f"{where}: means", "The latent space has two dimensions.")
    samples = finite(samples, means.shape, f"{where}: samples", "Draw once from each posterior.")
    if labels is not None:
        labels = shaped(labels, (len(means),), f"{where}: labels", "Give one label a mean.")
    colours = label_colours([labels], where)
    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(2, 1))
    plane = figure.add_subplot(grid[:, 0])
    draw_mosaic(plane, images, value_range, f"{where}: images", _GAP)
    plane.set_xlabel(r"quantiles of $z_1$", fontsize=TEXT)
    plane.set_ylabel(r"quantiles of $z_2$", fontsize=TEXT)
    if latents is not None:
        _name_latents(plane, np.asarray(images), latents, f"{where}: latents")
    for row, (symbol, points) in enumerate([(r"\mu", means), ("z", samples)]):
        axes = figure.add_subplot(grid[row, 1])
        scatter_by_label(axes, points, labels, colours, frame=np.concatenate([means, samples]))
        axes.set_xlabel(f"${symbol}_1$", fontsize=TEXT)
        axes.set_ylabel(f"${symbol}_2$", fontsize=TEXT)
    label_legend(figure, colours)
    return figure


def _name_latents(axes: Axes, images: Array, latents: Array, where: str) -> None:
    """The latents' values, at ticks under and beside some of the pictures that they decode to."""
    rows, columns, *_, height, width = images.shape
    latents = finite(latents, (rows, columns, 2), where, "Give the latents that were decoded.")
    across, down = _some(columns), _some(rows)
    axes.set_xticks(centres(columns, width, _GAP)[across], map(_short, latents[0, across, 0]))
    axes.set_yticks(centres(rows, height, _GAP)[down], map(_short, latents[down, 0, 1]))
    axes.tick_params(labelsize=TICK, length=2.0)


def _some(count: int) -> list[int]:
    """Of `count` places in a row the first, the last and a few between, symmetrically."""
    left = {0, round((count - 1) / 4)}
    middle = {count // 2} if count % 2 else set()
    return sorted(left | middle | {count - 1 - i for i in left})


def _short(value: float) -> str:
    """Three digits, with a typographic minus."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
