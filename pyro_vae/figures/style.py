"""What figures share, these and one's own beside them: colours, sizes, panels, their titles."""

from __future__ import annotations

import math
from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "LABEL_COLOURS",
    "METHOD_COLOURS",
    "REFERENCE_COLOUR",
    "TEXT",
    "TICK",
    "TITLE",
    "bare",
    "lettered",
    "method_colours",
    "panel_row",
    "plain",
    "signed",
]

# Okabe and Ito, "Color Universal Design" (2008), without its yellow, too pale for lines on white.
METHOD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# matplotlib's tab10: ten hues for ten classes; clusters also carry their label as text.
LABEL_COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
REFERENCE_COLOUR = "#555555"
TITLE, TEXT, TICK = 10.0, 9.5, 8.5  # points


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """A colour for each method by its position, from the colour-blind-safe Okabe–Ito palette.

    Pass the same methods in the same order and every figure of a paper agrees.

    Raises:
        ValueError: more methods than the palette has colours (7).

    >>> method_colours(["learned Σ", "constant Σ"])
    {'learned Σ': '#0072B2', 'constant Σ': '#D55E00'}
    """
    names = list(methods)
    if len(names) > len(METHOD_COLOURS):
        raise ValueError(
            f"method_colours: expected at most {len(METHOD_COLOURS)} methods; got {len(names)}. "
            "Draw them in two figures."
        )
    return dict(zip(names, METHOD_COLOURS, strict=False))


def panel_row(count: int, size: float, *, most: int = 4) -> tuple[Figure, list[Axes]]:
    """`count` panels of `size` inches, in rows as even as `most` columns allow."""
    rows = math.ceil(count / most)
    columns = math.ceil(count / rows)
    figure = Figure(figsize=(size * columns, size * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    return figure, list(grid[:count])


def lettered(titles: Iterable[str]) -> list[str]:
    """Titles with their panel's letter; a title that stands alone needs none."""
    names = list(titles)
    if len(names) == 1:
        return names
    return [f"({chr(ord('a') + i)}) {name}" for i, name in enumerate(names)]


def plain(axes: Axes) -> None:
    """Left and bottom spines only, ticks in the figures' size."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TICK)


def bare(axes: Axes) -> None:
    """No spines, no ticks: for pictures."""
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])


def signed(value: float) -> str:
    """Two decimals, with a typographic minus."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
