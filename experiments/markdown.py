"""Tables and numbers as reports write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["Row", "factor", "figure", "minus", "number", "scientific", "table"]

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


def minus(text: str) -> str:
    """A number's text with a typographic minus."""
    return text.replace("-", "\N{MINUS SIGN}")


def scientific(value: float) -> str:
    """Two significant digits, and a power of ten where there are many zeros.

    >>> scientific(0.05), scientific(0.00032), scientific(-1234.0)
    ('0.05', '3.2·10⁻⁴', '−1.2·10³')
    """
    mantissa, exponent = f"{value:.1e}".split("e")
    if -3 < int(exponent) < 3:
        return minus(f"{float(f'{value:.1e}'):g}")
    power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return minus(mantissa.removesuffix(".0")) + f"·10{power}"


def factor(found: tuple[float, float, float] | None) -> str:
    """A median and its interval."""
    if found is None:
        return "–"
    middle, low, high = map(number, found)
    return f"{middle} [{low}, {high}]"
