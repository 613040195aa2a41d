"""A run's report as a page of the documentation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from experiments.run_folder import write_json, write_text

__all__ = ["publish"]


def publish(run: Path, page: Path) -> None:
    """Copy a run's report to ``page``, its figures and numbers into a folder beside it.

    ``PAGE.md`` comes with ``PAGE/*.png`` and ``PAGE/results.json``, in which the histories are
    thinned to the epochs with a held-out bound. The page's links are changed to match.

    Args:
        run: a finished run folder.
        page: the Markdown file to write.
    """
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):  # of an earlier run, which may have had others
        old.unlink()
    for figure in sorted((run / "figures").glob("*.png")):
        shutil.copyfile(figure, folder / figure.name)
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    for found in results["runs"]:
        if "history" in found:
            found["history"] = [r for r in found["history"] if r["validation"] is not None]
    write_json(folder / "results.json", results)
    report = (run / "report.md").read_text(encoding="utf-8")
    write_text(page, report.replace("](figures/", f"]({folder.name}/"))
    print(f"page: {page}")
