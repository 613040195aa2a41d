"""What the tests of the experiments share: small runs, the command, and what a run left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.posterior_variance.config import Config
from experiments.posterior_variance.jobs import all_jobs, folder_of

ROOT = Path(__file__).parents[2]
QUICK = ["posterior_variance", "--quick", "--epochs", "2"]
"""The command's arguments for a run of seconds: two seeds, six jobs."""

TINY = Config(
    data="digits",
    seeds=1,
    epochs=2,
    hidden=(8,),
    batch_size=300,
    elbo_samples=2,
    evidence_samples=5,
)
"""A run in this process, of a second."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "experiments", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **changes}


def run_command(*arguments: object, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def start_command(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A background job starts with Ctrl-C ignored, and hands that on: here it is not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.002)


def group_is_gone(group: int) -> bool:
    """Whether no process of the group is left but ones that have ended."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    stats = [_stat(path) for path in Path("/proc").glob("[0-9]*/stat")]
    return all(state == "Z" for state, _, own in stats if own == str(group))


def _stat(path: Path) -> tuple[str, str, str]:
    """The state, the parent and the process group."""
    try:
        state, parent, group = path.read_text().rpartition(")")[2].split()[:3]
    except OSError:  # it has just ended
        return "Z", "", ""
    return state, parent, group


def only_run_folder(cwd: Path) -> Path:
    (folder,) = (cwd / "runs" / "posterior_variance").iterdir()
    return folder


def config_of(folder: Path) -> Config:
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))["config"]
    return Config(**stored | {"hidden": tuple(stored["hidden"])})


def without_seconds(result: Any) -> Any:
    """The result without times, which differ between two runs of the same."""
    if isinstance(result, dict):
        return {k: without_seconds(v) for k, v in result.items() if not k.endswith("seconds")}
    return [without_seconds(v) for v in result] if isinstance(result, list) else result


def assert_same_run(one: Path, other: Path) -> None:
    """The numbers, arrays and weights of every job of ``one`` are the other's, bit for bit."""
    for job in all_jobs(config_of(one)):
        a, b = (without_seconds(folder_of(folder, job).result()) for folder in (one, other))
        assert a == b
        a, b = (folder_of(folder, job).arrays() for folder in (one, other))
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[name], b[name]) for name in a)
        v, w = (torch.load(folder_of(folder, job).path / "vae.pt") for folder in (one, other))
        assert v.keys() == w.keys()
        assert all(torch.equal(v[name], w[name]) for name in v)
