"""Runs that several tests look at, made once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.experiments.runs import QUICK, only_run_folder, run_command


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder in which the quick command was run once, and how that ended. Not to be changed."""
    cwd = tmp_path_factory.mktemp("quick")
    return cwd, run_command(*QUICK, cwd=cwd)


@pytest.fixture(scope="session")
def quick_folder(quick: tuple[Path, subprocess.CompletedProcess]) -> Path:
    cwd, ended = quick
    assert ended.returncode == 0, ended.stderr
    return only_run_folder(cwd)
