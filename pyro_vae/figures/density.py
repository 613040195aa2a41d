"""Densities on the plane, and where a latent plane decodes to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from pyro_vae.figures._checks import Array, finite, not_empty
from pyro_vae.figures.style import TEXT, TITLE, bare

_SIZE = 2.3  # inches a panel


def density_rows(rows: Mapping[str, Mapping[str, Array]], *, half_width: float = 0.5) -> Figure:
    """Densities on the square [−w, w]², a row for each data set and a column for each of its
    panels: yellow is high, purple low, on one scale a row, that of its first panel.

    Args:
        rows: data set → title → density [rows, columns], row 0 at the least second coordinate; each
            data set has as many panels as the first.
        half_width: w.

    Raises:
        ValueError: no data set; a density that is not a finite [rows, columns].

    Source: Yu, "A Tutorial on VAEs", figures 1 (a), 2 (a) and 3 (a).

    >>> square = np.ones((4, 4))
    >>> len(density_rows({"8 Gaussians": {"true": square, "VAE": square}}).axes)
    2
    """
    where = "density_rows"
    not_empty(rows, f"{where}: rows")
    count = max(map(len, rows.values()))
    figure = Figure(figsize=(_SIZE * count, _SIZE * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), count, squeeze=False)
    extent = (-half_width, half_width, -half_width, half_width)
    for row, (name, panels) in enumerate(rows.items()):
        arrays = {
            title: finite(value, ("rows", "columns"), f"{where}: {name}, {title}", "Give a grid.")
            for title, value in panels.items()
        }
        most = np.quantile(next(iter(arrays.values())), 0.998)
        for column, (title, value) in enumerate(arrays.items()):
            axes = grid[row, column]
            axes.imshow(value, extent=extent, origin="lower", vmin=0, vmax=most, cmap="viridis")
            bare(axes)
            if row == 0:
                axes.set_title(title, fontsize=TITLE)
            if column == 0:
                axes.set_ylabel(name, fontsize=TEXT)
        for axes in grid[row, len(arrays) :]:
            axes.remove()
    return figure


def latent_correspondence(
    density: Array,
    panels: Mapping[str, tuple[Array, Array]],
    *,
    half_width: float = 0.5,
    latent_half_width: float = 3.0,
) -> Figure:
    """Which part of the data each part of a latent plane decodes to: first the data's square, a
    colour for each place, as bright as the density there; then each latent plane in the colours of
    the places it decodes to. What is black there is wasted: it decodes to where no data are.

    Args:
        density: the true density on the data's square, [n, n].
        panels: title → where the latent grid decodes to [m, m, 2], and the true density there
            [m, m].
        half_width, latent_half_width: of the data's square, and of the latent planes.

    Raises:
        ValueError: no panel; an array of another shape or with values that are not finite.

    Source: Yu, "A Tutorial on VAEs", figures 1 (b), 2 (b) and 3 (b).

    >>> square, decoded = np.ones((4, 4)), np.zeros((5, 5, 2))
    >>> figure = latent_correspondence(square, {"VAE": (decoded, np.ones((5, 5)))})
    >>> len(figure.axes)
    2
    """
    where = "latent_correspondence"
    not_empty(panels, f"{where}: panels")
    n = len(density)
    density = finite(density, (n, n), f"{where}: density", "Give the density on a square grid.")
    figure = Figure(figsize=(_SIZE * (1 + len(panels)), _SIZE + 0.3), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(panels), squeeze=False)[0]
    most = float(np.quantile(density, 0.998))
    axis = np.linspace(-half_width, half_width, n)
    square = np.stack(np.meshgrid(axis, axis), -1)
    _coloured(first, square, density / most, half_width, half_width)
    first.set_title("data", fontsize=TITLE)
    for axes, (title, (decoded, at_decoded)) in zip(others, panels.items(), strict=True):
        about, m = f"{where}: {title}", len(decoded)
        decoded = finite(decoded, (m, m, 2), about, "Decode a square grid of latents.")
        at_decoded = finite(at_decoded, decoded.shape[:2], about, "Give the density there.")
        _coloured(axes, decoded, at_decoded / most, half_width, latent_half_width)
        axes.set_title(title, fontsize=TITLE)
    return figure


def _coloured(
    axes: Axes, places: Array, brightness: Array, half_width: float, extent: float
) -> None:
    """A picture in the colours of places: hue by direction, saturation by distance."""
    x, y = places[..., 0] / half_width, places[..., 1] / half_width
    hue = (np.arctan2(y, x) / (2 * np.pi)) % 1
    saturation = np.clip(0.25 + 0.75 * np.hypot(x, y), 0, 1)
    value = np.clip(brightness, 0, 1) ** 0.5
    picture = hsv_to_rgb(np.stack([hue, saturation, value], -1))
    axes.imshow(picture, extent=(-extent, extent, -extent, extent), origin="lower")
    bare(axes)
