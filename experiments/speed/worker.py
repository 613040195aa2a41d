"""A process with one contender in it: ``python -m experiments.speed.worker KEY``.

Reads a JSON object a line from its input, does what it says, and answers with a line. The steps of
a contender then share no threads, memory or random numbers with another's.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from experiments.speed.breakdown import profile_of_steps
from experiments.speed.cases import case_of
from experiments.speed.contenders import CONTENDERS, Contender, LeftOut
from experiments.speed.inputs import Inputs

__all__ = ["CRASHED", "LEFT_OUT", "NOT_INSTALLED"]

NOT_INSTALLED, LEFT_OUT, CRASHED = "not installed", "left out", "crashed"


class Worker:
    """Answers messages about one contender."""

    _contender: Contender

    def __init__(self, kind: type[Contender]) -> None:
        self._kind = kind
        self._device = "cpu"
        self._random = np.random.default_rng(1)

    def prepare(self, case: dict[str, Any], inputs: str, device: str) -> dict[str, Any]:
        """Build the contender; memory counts from here, the data loaded."""
        self._case, self._device = case_of(case), device
        arrays = Inputs.load(Path(inputs))
        self._count = len(arrays.data)
        self._before = _resident("VmRSS")
        _forget_peak()
        self._contender = self._kind(self._case, arrays, device)
        found = self._contender
        return {"chunk": found.chunk, "reports": found.reports, "note": found.note}

    def first_call(self) -> dict[str, Any]:
        """Compile, and say how long that took."""
        return {"seconds": self._timed(self._contender.first_call)}

    def losses(self, count: int) -> dict[str, Any]:
        """Draws of the first batch's loss at the weights as they are."""
        return {"losses": self._contender.loss_samples(count)}

    def run(self, steps: int) -> dict[str, Any]:
        """Steps on random batches, and their time; drawing the indices is not in it."""
        batches = self._random.integers(self._count, size=(steps, self._case.batch))
        return {"seconds": self._timed(lambda: self._contender.steps(batches))}

    def profile(self, steps: int) -> dict[str, Any]:
        """Where the time of steps goes."""
        batches = self._random.integers(self._count, size=(steps, self._case.batch))
        return {"milliseconds": profile_of_steps(lambda: self._contender.steps(batches), steps)}

    def memory(self) -> dict[str, Any]:
        """The most memory so far, in MiB: of the GPU where it is used, else this process's, less
        what it had before the contender was built. ``None`` where the system does not tell."""
        if self._device.startswith("cuda"):
            import torch

            return {"mib": torch.cuda.max_memory_allocated() / 2**20}
        peak = _resident("VmHWM")
        return {"mib": None if peak is None or self._before is None else peak - self._before}

    def _timed(self, work: Callable[[], object]) -> float:
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()


def _resident(what: str) -> float | None:
    """MiB of this process in memory, as Linux says: ``"VmRSS"`` now, ``"VmHWM"`` at the most.

    (The ``ru_maxrss`` of a process starts with that of its parent.)
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(rf"^{what}:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 2**10 if found else None


def _forget_peak() -> None:
    """Let ``VmHWM`` begin anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _main(key: str) -> None:
    answers = _own_output()
    kind: type[Contender] | None = None
    try:
        kind = CONTENDERS[key].load()
        _say(answers, {"status": "ready"})
    except ModuleNotFoundError as error:
        _say(answers, {"status": NOT_INSTALLED, "reason": str(error)})
    if kind is not None:
        worker = Worker(kind)
        for line in sys.stdin:
            _say(answers, _answered(worker, json.loads(line)))


def _answered(worker: Worker, message: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = getattr(worker, message.pop("do"))(**message)
    except LeftOut as reason:
        return {"status": LEFT_OUT, "reason": str(reason)}
    except Exception as error:  # whatever a contender raises: told, and the run goes on
        traceback.print_exc()
        first, *_ = [*str(error).strip().splitlines(), ""]
        return {"status": CRASHED, "reason": f"{type(error).__name__}: {first}"}
    return {"status": "done", **answer}


def _own_output() -> TextIO:
    """Where answers go; what a library prints goes to the log from here on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    _main(sys.argv[1])
