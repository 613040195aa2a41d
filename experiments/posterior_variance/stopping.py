"""How the comparison depends on when training stops: the last quarter of its measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.markdown import minus, table
from experiments.paired import Estimate, estimate, interval, paired_difference, signed

__all__ = ["Late", "answer", "averages", "late", "stopping"]

Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Late:
    """How two methods differ over the last quarter of the measurements in training.

    Args:
        average: the paired difference of each seed's bound averaged over those measurements.
        sides: of each measurement alone, on which side of zero the interval lies: 1, 0 or −1.
    """

    average: Estimate
    sides: tuple[int, ...]

    def agreeing(self) -> int:
        """At how many measurements the interval lies on the side of the average's."""
        return self.sides.count(self.average.side_of_zero())


def late(results: Results, method: str, baseline: str) -> Late:
    """The difference of two methods late in training."""
    values, base = (_late_bounds(results, name) for name in (method, baseline))
    single = zip(zip(*values, strict=True), zip(*base, strict=True), strict=True)
    sides = tuple(paired_difference(a, b).side_of_zero() for a, b in single)
    average = paired_difference(averages(results, method), averages(results, baseline))
    return Late(average, sides)


def averages(results: Results, method: str) -> list[float]:
    """Each seed's bound, averaged over the last quarter of its measurements."""
    return [float(np.mean(bounds)) for bounds in _late_bounds(results, method)]


def stopping(results: Results, pairs: Iterable[tuple[str, str]]) -> str:
    """What averages and single measurements late in training say of each pair of methods."""
    rows = [[f"{a} − {b}", *_cells(late(results, a, b))] for a, b in pairs]
    head = ["paired by seed", "bound, averaged", "95 % interval", "above zero", "holds", "below"]
    return f"{_about(results)}\n\n{table(head, rows, 'lrrrrr')}\n\n{_last_epoch(results)}"


def answer(method: str, baseline: str, found: Late, last: Estimate) -> str:
    """Whether a method is better, as far as both the average and single measurements say so.

    Args:
        method, baseline: their names.
        found: how they differ late in training.
        last: how their final bounds differ.
    """
    side, measurements = found.average.side_of_zero(), len(found.sides)
    told = (
        f"averaged over the last quarter, its difference to {baseline} is "
        f"{signed(found.average.mean)} {interval(found.average)}"
    )
    if side == 0:
        return f"{method}: undecided; {told}, which holds zero{_alone(found)}."
    yes, where = ("yes", "above") if side > 0 else ("no, worse", "below")
    alone = f"of the measurements alone, the interval lies {where} zero at {found.agreeing()} of "
    told += f"; {alone}{measurements}{_final(side, last)}"
    if found.agreeing() == measurements and last.side_of_zero() == side:
        return f"{method}: {yes}, wherever in it training stops; {told}."
    return f"{method}: {yes} on average, but it depends on when training stops; {told}."


def _alone(found: Late) -> str:
    decided = len(found.sides) - found.sides.count(0)
    if decided == 0:
        return ", as at every measurement alone"
    return f", though at {decided} of {len(found.sides)} measurements alone it is excluded"


def _final(side: int, last: Estimate) -> str:
    """Where the final bounds disagree with the average."""
    if last.side_of_zero() == side:
        return ""
    where = "on the other side" if last.side_of_zero() else "around it"
    return f", and that of the final bounds, {interval(last)}, {where}"


def _about(results: Results) -> str:
    epochs = list(_curve(results[0]))
    taken = epochs[-_quarter(len(epochs)) :]
    span = f"epochs {taken[0]}–{taken[-1]}" if len(taken) > 1 else f"epoch {taken[0]}"
    return (
        "How that depends on when training stops: each seed's bound, averaged over the last "
        f"quarter of the measurements in training ({len(taken)} of {len(epochs)}: {span}), and at "
        "how many of those, each taken alone, the 95 % interval lies above zero, holds it or lies "
        "below."
    )


def _cells(found: Late) -> list[str]:
    counts = [str(found.sides.count(side)) for side in (1, 0, -1)]
    if found.average.half_width is None:
        counts = ["–"] * len(counts)
    return [signed(found.average.mean), interval(found.average), *counts]


def _last_epoch(results: Results) -> str:
    """The final bounds beside the averages: a dip or a peak at the end shows here."""
    methods = dict.fromkeys(result["method"] for result in results)
    told = []
    for method in methods:
        final = estimate([r["bound"] for r in results if r["method"] == method]).mean
        average = estimate(averages(results, method)).mean
        told.append(f"{method} {minus(f'{average:.2f}')}, and {signed(final - average)} at the end")
    return f"The averages themselves: {'; '.join(told)}."


def _late_bounds(results: Results, method: str) -> list[list[float]]:
    """The last quarter of the held-out bounds of each seed."""
    curves = [list(_curve(result).values()) for result in results if result["method"] == method]
    return [curve[-_quarter(len(curve)) :] for curve in curves]


def _quarter(measurements: int) -> int:
    """A quarter of them, rounded up."""
    return -(-measurements // 4)


def _curve(result: Mapping[str, Any]) -> dict[int, float]:
    records = result["history"]
    return {r["epoch"]: r["validation"] for r in records if r["validation"] is not None}
