"""Pictures in rows and columns: samples of a model, reconstructions of its data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_vae.figures._checks import Array, not_empty, shaped
from pyro_vae.figures.style import TEXT, TITLE, bare, lettered, panel_row

_GRID = ("rows", "cols", "H", "W")
_COLOURED = ("rows", "cols", 3, "H", "W")


def image_grid(
    images: Array | Mapping[str, Array], *, value_range: tuple[float, float] = (0.0, 1.0)
) -> Figure:
    """Images side by side without axes, in grey or in colour, a panel a method: generative samples.

    Args:
        images: [rows, cols, H, W], or [rows, cols, 3, H, W] in red, green and blue; or method →
            such an array (each may have its own sizes).
        value_range: the values drawn black and white; what lies beyond is clipped.

    Raises:
        ValueError: no panel, or an array of another shape.

    Source: Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder", figure 4 (c).

    >>> samples = np.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    >>> figure = image_grid({"ELBO": samples, "BILBO": samples})
    >>> [axes.get_title() for axes in figure.axes]
    ['(a) ELBO', '(b) BILBO']
    """
    panels = images if isinstance(images, Mapping) else {"": images}
    not_empty(panels, "image_grid: images")
    figure, grid = panel_row(len(panels), 2.4)
    for axes, title, (name, panel) in zip(grid, lettered(panels), panels.items(), strict=True):
        where = f"image_grid: images[{name!r}]" if name else "image_grid: images"
        draw_mosaic(axes, panel, value_range, where, gap=0.5)
        axes.set_title(title, fontsize=TITLE)
    return figure


def reconstructions(
    originals: Array,
    reconstructions: Mapping[str, Array],
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Data in the top row and below it what each method makes of them, column by column.

    Args:
        originals: [N, H, W], or [N, 3, H, W] in red, green and blue.
        reconstructions: method → the same shape, of the same images in the same order.
        value_range: the values drawn black and white; what lies beyond is clipped.

    Raises:
        ValueError: no method; originals of another shape; reconstructions of another than theirs.

    Source: Fyffe, "There and Back Again: Unraveling the Variational Auto-Encoder", figure 16.

    >>> digits = np.zeros((5, 8, 8))
    >>> figure = reconstructions(digits, {"ELBO": digits, "BILBO": digits})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['input', 'ELBO', 'BILBO']
    """
    where = "reconstructions"
    not_empty(reconstructions, f"{where}: reconstructions")
    template = ("N", 3, "H", "W") if np.ndim(originals) == 4 else ("N", "H", "W")
    originals = shaped(originals, template, f"{where}: originals", "Stack the images.")
    rows = {"input": originals}
    for name, images in reconstructions.items():
        rows[name] = shaped(
            images,
            originals.shape,
            f"{where}: reconstructions[{name!r}]",
            "Reconstruct the images given as originals.",
        )
    count, *_, height, width = originals.shape
    size = 7.0 / max(count, 8)
    figure = Figure(
        figsize=(size * count + 0.8, size * len(rows) * height / width + 0.1), layout="constrained"
    )
    axes = figure.subplots()
    draw_mosaic(axes, np.stack(list(rows.values())), value_range, where, gap=1.0)
    centres = (np.arange(len(rows)) + 0.5) * height - 0.5
    axes.set_yticks(centres, list(rows), fontsize=TEXT)
    axes.tick_params(length=0)
    return figure


def draw_mosaic(
    axes: Axes, images: Array, value_range: tuple[float, float], where: str, gap: float = 0.0
) -> None:
    """Images [rows, cols, H, W] or [rows, cols, 3, H, W] on `axes`, `gap` points apart."""
    template = _COLOURED if np.ndim(images) == len(_COLOURED) else _GRID
    images = shaped(images, template, where, "Reshape a stack of images into rows and columns.")
    rows, columns, *_, height, width = images.shape
    low, high = value_range
    if template is _COLOURED:
        coloured = images.transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
        axes.imshow(np.clip((coloured - low) / (high - low), 0, 1))
    else:
        mosaic = images.swapaxes(1, 2).reshape(rows * height, columns * width)
        axes.imshow(mosaic, cmap="gray", vmin=low, vmax=high)
    bare(axes)
    if gap:
        _rule(axes, rows, height, columns, width, gap)


def _rule(axes: Axes, rows: int, height: int, columns: int, width: int, gap: float) -> None:
    for row in range(1, rows):
        axes.axhline(row * height - 0.5, color="white", linewidth=gap)
    for column in range(1, columns):
        axes.axvline(column * width - 0.5, color="white", linewidth=gap)
