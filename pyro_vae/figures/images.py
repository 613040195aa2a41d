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
_PALE_GAP = "#b0b0b0"  # between pictures whose own background is white


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
    figure.set_layout_engine("constrained", w_pad=0.1)  # panels further apart than their pictures
    for axes, title, (name, panel) in zip(grid, lettered(panels), panels.items(), strict=True):
        where = f"image_grid: images[{name!r}]" if name else "image_grid: images"
        draw_mosaic(axes, panel, value_range, where)
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
    draw_mosaic(axes, np.stack(list(rows.values())), value_range, where)
    axes.set_yticks(
        centres(len(rows), height, gap_between(height, width)), list(rows), fontsize=TEXT
    )
    axes.tick_params(length=0)
    return figure


def draw_mosaic(
    axes: Axes, images: Array, value_range: tuple[float, float], where: str, gap: int | None = None
) -> None:
    """Images [rows, cols, H, W] or [rows, cols, 3, H, W] on `axes`, `gap` of their pixels apart.

    None is a sixteenth of their shorter side, and at least a pixel: an eighth of an 8 × 8 digit.
    """
    template = _COLOURED if np.ndim(images) == len(_COLOURED) else _GRID
    images = shaped(images, template, where, "Reshape a stack of images into rows and columns.")
    low, high = value_range
    if gap is None:
        gap = gap_between(*images.shape[-2:])
    if template is _COLOURED:
        scaled = np.clip((images - low) / (high - low), 0, 1)
        channels = [_mosaic(scaled[:, :, channel], gap) for channel in range(3)]
        opaque = np.isfinite(channels[0])
        axes.imshow(np.nan_to_num(np.stack([*channels, opaque], axis=-1)))
    else:
        axes.imshow(_mosaic(images, gap), cmap="gray", vmin=low, vmax=high)
    bare(axes)
    axes.set_facecolor(_PALE_GAP if np.median(images) > low + 0.9 * (high - low) else "white")


def gap_between(height: int, width: int) -> int:
    """Pixels between pictures of this size: see `draw_mosaic`."""
    return max(1, round(min(height, width) / 16))


def centres(count: int, side: int, gap: int) -> Array:
    """Where in a mosaic the pictures' centres are, in pixels, along one axis. Shape: [count]."""
    return np.arange(count) * (side + gap) + (side - 1) / 2


def _mosaic(images: Array, gap: int) -> Array:
    """[rows, cols, H, W] side by side, NaN between them."""
    padded = np.pad(
        images.astype(np.float64), [(0, 0), (0, 0), (0, gap), (0, gap)], constant_values=np.nan
    )
    rows, columns, height, width = padded.shape
    mosaic = padded.swapaxes(1, 2).reshape(rows * height, columns * width)
    return mosaic[: len(mosaic) - gap, : mosaic.shape[1] - gap]
