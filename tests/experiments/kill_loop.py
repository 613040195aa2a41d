"""Run as a script, in a process of its own: a run of the experiment left alone and one killed.

``python -m tests.experiments.kill_loop FOLDER`` makes FOLDER/whole and FOLDER/killed, two run
folders, and FOLDER/kills.json. The killed one is of forked processes that send themselves SIGKILL
at a call chosen by lot, of all Python's and C's function calls in it: while it trains, measures,
writes, or between two jobs.
"""

from __future__ import annotations

import json
import random
import signal
import sys
from pathlib import Path

from experiments.posterior_variance import jobs
from experiments.run_folder import RunFolder
from tests.experiments.runs import TINY
from tests.training.kill_loop import CallCounter, forked

MOST_KILLS = 60


def run(folder: Path, counter: CallCounter) -> None:
    sys.setprofile(counter)
    path = RunFolder(folder, "posterior_variance", TINY).path
    jobs.run_all(TINY, path, None, 1)
    sys.setprofile(None)


def main(folder: Path) -> None:
    def whole() -> None:
        counter = CallCounter()
        run(folder / "whole", counter)
        (folder / "calls").write_text(str(counter.count))

    # In this process once: what is imported at first use is not to be in every fork.
    run(folder / "imports", CallCounter())
    assert forked(whole) == 0
    calls = int((folder / "calls").read_text())
    lot, kills = random.Random(0), []
    killed = folder / "killed"

    def killed_run(fatal: int) -> int:
        return forked(lambda: run(killed, CallCounter(fatal)))

    while (status := killed_run(lot.randrange(calls // 2))) != 0:
        assert status == -signal.SIGKILL, "it failed, where it should have been killed"
        files = killed.rglob("*")
        kills.append(sorted(str(p.relative_to(killed)) for p in files if p.is_file()))
        assert len(kills) < MOST_KILLS, kills
    (folder / "kills.json").write_text(json.dumps(kills, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
