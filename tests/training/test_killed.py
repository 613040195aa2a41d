"""A run killed at any moment and resumed ends as one that was never killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_vae.training import Checkpoints
from tests.training.pairs import identical, without_seconds

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def both_ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ends of whole and of killed runs."""
    folder = tmp_path_factory.mktemp("runs")
    subprocess.run(
        [sys.executable, "-m", "tests.training.kill_loop", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
        timeout=300,
    )
    return folder


@pytest.fixture(params=["floating", "optimal"])
def ended(request: pytest.FixtureRequest, both_ended: Path) -> Path:
    """The part of one of the two pairs."""
    return both_ended / request.param


def end_of(folder: Path, name: str) -> dict[str, Any]:
    return torch.load(folder / f"{name}.pt", weights_only=True)


def last_checkpoint(folder: Path, name: str) -> dict[str, Any]:
    state = Checkpoints(folder / name).load()
    assert state is not None
    return state


def test_the_run_was_killed_in_its_midst_several_times(ended: Path) -> None:
    kills = json.loads((ended / "kills.json").read_text())
    assert len(kills) >= 4
    assert sum(len(kill["checkpoints"]) > 0 for kill in kills) >= 3


def test_it_was_also_killed_while_writing_a_checkpoint(ended: Path) -> None:
    kills = json.loads((ended / "kills.json").read_text())
    assert sum(len(kill["partial"]) > 0 for kill in kills) >= 2


def test_weights_are_those_of_a_run_never_killed(ended: Path) -> None:
    whole, killed = end_of(ended, "whole"), end_of(ended, "killed")
    assert identical(whole["pair"], killed["pair"])


def test_history_is_that_of_a_run_never_killed(ended: Path) -> None:
    whole, killed = end_of(ended, "whole")["history"], end_of(ended, "killed")["history"]
    assert len(whole) == 4
    assert without_seconds(whole) == without_seconds(killed)


@pytest.mark.parametrize("part", ["optimizer", "schedule", "rng", "position", "best", "settings"])
def test_last_checkpoint_is_that_of_a_run_never_killed(ended: Path, part: str) -> None:
    whole, killed = last_checkpoint(ended, "whole"), last_checkpoint(ended, "killed")
    assert identical(whole[part], killed[part])
