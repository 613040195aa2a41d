"""How a run ends: its numbers and its report into the run folder, and to a page if one is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.machine import machines
from experiments.publish import publish
from experiments.run_folder import RunFolder, write_json, write_text

__all__ = ["finish"]


def finish(
    folder: RunFolder,
    page: Path | None,
    *,
    command: str,
    runs: Sequence[Mapping[str, Any]],
    text: str,
    **more: Any,
) -> None:
    """Write ``results.json`` and ``report.md``, say what was found, and publish it.

    Args:
        folder: the run's.
        page: of the documentation, or ``None``.
        command: that makes this run.
        runs: the results of the jobs.
        text: the report.
        more: what else the results hold.
    """
    results = {"command": command, "machine": machines(runs), **more, "runs": list(runs)}
    write_json(folder / "results.json", results)
    write_text(folder / "report.md", text)
    print(text.split("## What ")[0])  # what was found; the rest is how
    print(f"report: {folder / 'report.md'}")
    if page is not None:
        publish(folder.path, page)
