"""What a run of the experiment is, and nothing it finds."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.speed.cases import CASES, Case, growth_cases, shrunk
from experiments.speed.contenders import GROWING

__all__ = ["GROWTH", "Config", "chosen_cases"]

GROWTH = "e"
"""The name of the growth curves among the cases."""
_GROUPS = {"c": ("c2", "c100")}


@dataclass(frozen=True)
class Config:
    """Settings of one run: equal settings, equal run folder.

    Args:
        data: ``"mnist"``, ``"random"`` where its files are not found, ``"plane"`` where no case has
            pixels.
        measured_on: ``"cpu"`` or ``"cuda"``.
        quick: small networks and few, short blocks.
        cases: the names of cases, ``"e"`` for the growth curves.
        contenders: their keys.
        blocks: timed blocks of steps a contender and case, after one that is dropped.
        growth_blocks: the same for each point of the growth curves.
        block_seconds: about how long a block takes.
        draws: losses drawn from each contender and the reference, to compare their means.
    """

    data: str
    measured_on: str
    quick: bool
    cases: tuple[str, ...]
    contenders: tuple[str, ...]
    blocks: int = 15
    growth_blocks: int = 7
    block_seconds: float = 0.3
    draws: int = 200

    def timed_cases(self) -> list[Case]:
        """The cases but for the growth curves."""
        found = [CASES[name] for name in self.cases if name != GROWTH]
        return [shrunk(case) for case in found] if self.quick else found

    def growth(self) -> dict[tuple[str, int], Case]:
        """The growth curves' points, if they are asked for."""
        return growth_cases(self.quick) if GROWTH in self.cases else {}

    def growing(self) -> tuple[str, ...]:
        """The contenders whose growth is measured."""
        return tuple(key for key in self.contenders if key in GROWING)


def chosen_cases(text: str) -> tuple[str, ...]:
    """Names from a list with commas, ``c`` standing for both of its sizes.

    Raises:
        ValueError: a name that is none.
    """
    names: dict[str, None] = {}
    for given in text.split(","):
        names |= dict.fromkeys(_GROUPS.get(given, (given,)))
    known = (*CASES, GROWTH)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"expected some of {', '.join((*known, *_GROUPS))}; got {', '.join(unknown)!r}"
        )
    return tuple(name for name in known if name in names)
