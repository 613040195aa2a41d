"""A published page holds what the report holds, and every link of it leads somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

from experiments.publish import publish
from experiments.run_folder import write_json, write_text


def test_a_page_has_the_report_its_figures_and_thinned_numbers(tmp_path: Path) -> None:
    run, page = tmp_path / "run", tmp_path / "docs" / "results" / "answer.md"
    write_text(run / "figures" / "bound.png", "a picture")
    write_text(run / "report.md", "# Report\n\n![Bound](figures/bound.png)\n")
    history = [{"epoch": 1, "validation": None}, {"epoch": 2, "validation": -3.0}]
    write_json(run / "results.json", {"runs": [{"seed": 0, "history": history}]})

    publish(run, page)

    (link,) = re.findall(r"\]\((.*)\)", page.read_text())
    assert link == "answer/bound.png"
    assert (page.parent / link).read_text() == "a picture"
    numbers = json.loads((page.parent / "answer" / "results.json").read_text())
    assert numbers["runs"] == [{"seed": 0, "history": history[1:]}]
    assert json.loads((run / "results.json").read_text())["runs"][0]["history"] == history


def test_a_page_published_again_keeps_no_figure_that_the_new_run_has_not(tmp_path: Path) -> None:
    run, page = tmp_path / "run", tmp_path / "docs" / "answer.md"
    write_text(run / "report.md", "# Report\n")
    write_json(run / "results.json", {"runs": []})
    write_text(page.with_suffix("") / "old.png", "a picture of before")
    write_text(run / "figures" / "new.png", "a picture")
    publish(run, page)
    assert [path.name for path in page.with_suffix("").glob("*.png")] == ["new.png"]
