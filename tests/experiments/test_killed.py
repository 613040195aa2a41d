"""A run killed at any moment, then the same command: the numbers of a run never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from multiprocessing import active_children
from pathlib import Path

import pytest

from experiments.command_line import main
from experiments.posterior_variance import experiment
from tests.experiments.runs import (
    QUICK,
    ROOT,
    assert_same_run,
    environment,
    group_is_gone,
    only_run_folder,
    start_command,
    wait_for,
)

# Three jobs, of which the fixture ``quick_folder`` has a run never stopped.
ARGUMENTS = [*QUICK, "--seeds", "1"]
SIDE_BY_SIDE = [*ARGUMENTS, "--jobs", "2"]


def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    """The command in this process."""
    monkeypatch.chdir(folder)
    return main(arguments)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole and a killed run."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run(
        [sys.executable, "-m", "tests.experiments.kill_loop", str(folder)],
        cwd=ROOT,
        env=environment(),
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


def test_a_run_killed_again_and_again_finds_what_a_whole_one_does(killed: Path) -> None:
    assert_same_run(killed / "whole", killed / "killed")


def test_it_was_killed_in_jobs_and_with_jobs_done(killed: Path) -> None:
    kills = json.loads((killed / "kills.json").read_text())
    results = [sum(name.endswith("result.json") for name in files) for files in kills]
    assert len(kills) >= 3
    assert any(any("checkpoints/step-" in name for name in files) for files in kills)
    assert any(0 < done < 3 for done in results)


def test_nothing_of_a_killed_run_is_left_over(killed: Path) -> None:
    def names(folder: Path) -> set[str]:
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    extra = names(killed / "killed") - names(killed / "whole")
    assert extra == set()


def test_interrupted_in_training_it_says_so_and_goes_on(
    quick_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start_command(*ARGUMENTS, cwd=tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/*/*/*/checkpoints/step-*.pt")), "a checkpoint")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith("interrupted: the same command goes on from the last checkpoint\n")
    assert "Traceback" not in errors
    folder = only_run_folder(tmp_path)
    assert not (folder / "report.md").exists()
    monkeypatch.setattr(experiment, "draw", lambda *_: {})

    assert in_folder(tmp_path, monkeypatch, ARGUMENTS) == 0
    assert_same_run(folder, quick_folder)


def test_interrupted_while_it_starts_it_has_no_traceback_either(tmp_path: Path) -> None:
    process = start_command(*ARGUMENTS, cwd=tmp_path)
    maps = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: "libtorch" in maps.read_text(), "the import of torch")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors


def test_side_by_side_it_can_be_interrupted_and_finds_the_same(
    quick_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    process = start_command(*SIDE_BY_SIDE, cwd=tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/*/*/*/checkpoints/step-*.pt")), "a checkpoint")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.endswith("interrupted: the same command goes on from the last checkpoint\n")
    assert "Traceback" not in errors
    wait_for(lambda: group_is_gone(process.pid), "the processes to end", 10)
    folder = only_run_folder(tmp_path)
    left = 3 - len(list(folder.glob("*/result.json")))
    assert left >= 2

    monkeypatch.setattr(experiment, "draw", lambda *_: {})
    assert in_folder(tmp_path, monkeypatch, SIDE_BY_SIDE) == 0
    told = capsys.readouterr()
    assert f"{left} runs, 2 at a time" in told.out
    assert f"{left}/{left} " in told.err  # the progress, in runs
    assert_same_run(folder, quick_folder)


@pytest.mark.slow
def test_side_by_side_no_process_outlives_a_killed_parent(
    quick_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It cannot tell its processes, and they must not go on writing beside the next command's.
    process = start_command(*SIDE_BY_SIDE, cwd=tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/*/*/*/checkpoints/step-*.pt")), "a checkpoint")
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: group_is_gone(process.pid), "the processes to end", 10)
    folder = only_run_folder(tmp_path)
    assert len(list(folder.glob("*/result.json"))) < 3

    assert in_folder(tmp_path, monkeypatch, ARGUMENTS) == 0
    assert_same_run(folder, quick_folder)


@pytest.mark.slow
def test_side_by_side_a_killed_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As by the kernel, where memory is short.
    def kill_one() -> None:
        wait_for(lambda: list(tmp_path.glob("runs/*/*/*/checkpoints/step-*.pt")), "a checkpoint")
        active_children()[0].kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert in_folder(tmp_path, monkeypatch, SIDE_BY_SIDE) == 1
    killer.join()
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: a process was killed")
    assert active_children() == []
