"""What the report says of the goals that were missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.markdown import number, table
from experiments.speed.contenders import OURS
from experiments.speed.goals import Verdict, allowed_milliseconds

__all__ = ["missed"]

_TRIED = {
    "cpu": """What was tried. In the step, because it was faster: what calls the kernels in C++;
biases added, and products of up to four rows, columns or terms computed, in the loops around them;
small parameters updated by one loop, large ones each by its own; memory that is freed kept for the
next step; a large product given to the faster of two routines, the BLAS and oneDNN, by a trial on
the machine. Left out, because it was not: products of transposed operands, batches in two halves,
TorchInductor's plan of memory, other sizes of the loops' chunks. What is left is mostly products:
the profile below has their share.""",
}
"""By the device that is measured."""


def missed(found: Sequence[Verdict], cases: Mapping[str, Any], device: str) -> list[str]:
    """A section, if there is something to say: how fast a step would have to be, how fast it is,
    how long its matrix products alone take, and what was tried."""
    rows = [_row(verdict, cases[verdict.case]) for verdict in found if verdict.reached is False]
    if not rows:
        return []
    text = (
        "Where a goal was missed: milliseconds a step that would have reached it, those of our "
        "step, and those that `torch.mm` takes for the step's products alone, in their own shapes."
    )
    head = ["case", "goal", "to reach it, ms", "ours, ms", "products alone, ms"]
    tried = [" ".join(_TRIED[device].split())] if device in _TRIED else []
    return ["### Missed", text, table(head, rows, "llrrr"), *tried]


def _row(verdict: Verdict, case: Mapping[str, Any]) -> list[str]:
    allowed = allowed_milliseconds(verdict.goal, case)
    assert allowed is not None  # it was measured
    ours = case["contenders"][OURS]["median_milliseconds"]
    alone = case["limit"]["same_shapes_milliseconds"]
    return [f"({verdict.case})", str(verdict.goal), *map(number, (allowed, ours, alone))]
