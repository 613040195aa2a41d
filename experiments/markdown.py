"""Tables and numbers as reports write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["Row", "factor", "figure", "number", "table"]

Row = Sequence[str]


def table(head: Row, rows: Iterable[Row], alignment: str) -> str:
    """A Markdown table, its columns aligned to the left or right: a string of ``l`` and ``r``."""
    rule = ["---:" if letter == "r" else "---" for letter in alignment]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def figure(name: str, caption: str) -> str:
    """A picture of the run's folder of figures, and what it shows."""
    return f"![{name.removesuffix('.png').replace('_', ' ')}](figures/{name})\n\n{caption}"


def number(value: float) -> str:
    """Three significant digits."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.{2 if value >= 1 else 3}f}" if value >= 0.1 else f"{value:.2g}"


def factor(found: tuple[float, float, float] | None) -> str:
    """A median and its interval."""
    if found is None:
        return "–"
    middle, low, high = map(number, found)
    return f"{middle} [{low}, {high}]"
