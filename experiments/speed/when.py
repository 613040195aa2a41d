"""What the report says of when its cases were measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["measured_when"]

Found = Mapping[str, Any]


def measured_when(results: Found) -> list[list[str]]:
    """Rows: how long the whole took, and which cases were measured again, as their times tell: a
    run measures in one order, and one that was done again is later than those after it."""
    found = _in_order(results)
    if not found:
        return []
    seconds = sum(one["seconds"] for one in found.values())
    rows = [["time", f"{seconds / 60:.0f} minutes of all measurements added up"]]
    names = list(found)
    again = [
        name
        for i, name in enumerate(names)
        if any(found[later]["at"] < found[name]["at"] for later in names[i + 1 :])
    ]
    if again:
        rows.append(["timed again", f"{', '.join(again)}, into the same run folder, after others"])
    return rows


def _in_order(results: Found) -> dict[str, Found]:
    """When each was measured, in the order of a run; a growth curve's point that is a case is that
    case."""
    cases = {f"({name})": case for name, case in results["cases"].items()}
    growth = {
        f"{point['axis']} {point['value']}": point
        for point in results["growth"]
        if point["case"]["name"] not in results["cases"]
    }
    every = (cases | growth).items()
    return {name: one["measured"] for name, one in every if "measured" in one}
