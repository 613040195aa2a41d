"""How fast the compiled step is meant to be, and what the numbers say of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.speed.contenders import CONTENDERS, OURS
from experiments.speed.measure import MEASURED
from experiments.speed.spread import median, median_interval, ratios

__all__ = [
    "GOALS",
    "Goal",
    "Verdict",
    "allowed_milliseconds",
    "speedup",
    "steps_until_compiling_pays",
    "verdicts",
]

Found = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """In these cases: at least ``factor`` times as fast as a contender, or, where that is ``None``,
    at most ``factor`` times the time of the matrix products."""

    cases: tuple[str, ...]
    factor: float
    contender: str | None

    def __str__(self) -> str:
        if self.contender is None:
            return f"≤ {self.factor:g}× the limit"
        return f"≥ {self.factor:g}× as fast as {CONTENDERS[self.contender].label}"


_ALL = ("a", "b", "c2", "c100")

GOALS = {
    "cpu": (
        Goal(("a", "b"), 8.0, "pyro"),
        Goal(_ALL, 1.5, "torch_compile"),
        Goal(_ALL, 1.0, "numpyro_scan"),
        Goal(("c2", "c100"), 1.5, None),
    ),
    "cuda": (Goal(_ALL, 15.0, "pyro"), Goal(_ALL, 0.95, "cuda_graph")),
}
"""By the device that is measured."""


@dataclass(frozen=True)
class Verdict:
    """A goal in one case: the factor that was found, with an interval; ``None`` if it was not."""

    goal: Goal
    case: str
    found: tuple[float, float, float] | None

    @property
    def reached(self) -> bool | None:
        """Whether the median is on the right side; ``None`` without one."""
        if self.found is None:
            return None
        if self.goal.contender is None:
            return self.found[0] <= self.goal.factor
        return self.found[0] >= self.goal.factor

    def __str__(self) -> str:
        if self.found is None:
            return "not measured"
        if self.reached:
            return "reached"
        quotient = self.found[0] / self.goal.factor
        return f"missed by a factor {max(quotient, 1 / quotient):.2f}"


def verdicts(cases: Mapping[str, Found], device: str) -> list[Verdict]:
    """Every goal for ``"cpu"`` or ``"cuda"`` in every case of it that was run."""
    return [
        Verdict(goal, name, _found(goal, cases[name]))
        for goal in GOALS[device]
        for name in goal.cases
        if name in cases
    ]


def allowed_milliseconds(goal: Goal, case: Found) -> float | None:
    """A step of ours that takes this long reaches the goal, from medians."""
    if goal.contender is None:
        return goal.factor * float(case["limit"]["milliseconds"])
    other = _measured(case["contenders"], goal.contender)
    return None if other is None else other["median_milliseconds"] / goal.factor


def speedup(contenders: Mapping[str, Found], key: str) -> tuple[float, float, float] | None:
    """How many times as long as ours a step of another takes: the median over rounds, and an
    interval for it."""
    other, ours = _measured(contenders, key), _measured(contenders, OURS)
    if other is None or ours is None:
        return None
    each = ratios(other["milliseconds"], ours["milliseconds"])
    return median(each), *median_interval(each)


def steps_until_compiling_pays(contenders: Mapping[str, Found]) -> float | None:
    """From how many steps on compiled ones take less time than eager ones, compiling included."""
    ours, eager = _measured(contenders, OURS), _measured(contenders, "eager")
    if ours is None or eager is None:
        return None
    gained = eager["median_milliseconds"] - ours["median_milliseconds"]
    return 1e3 * ours["first_call_seconds"] / gained if gained > 0 else None


def _found(goal: Goal, case: Found) -> tuple[float, float, float] | None:
    if goal.contender is not None:
        return speedup(case["contenders"], goal.contender)
    ours = _measured(case["contenders"], OURS)
    if ours is None:
        return None
    each = [ms / case["limit"]["milliseconds"] for ms in ours["milliseconds"]]
    return median(each), *median_interval(each)


def _measured(contenders: Mapping[str, Found], key: str) -> Found | None:
    """A contender's numbers, if it has any."""
    found = contenders.get(key)
    return found if found is not None and found["status"] == MEASURED else None
