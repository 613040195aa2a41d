"""The parent's end of a contender's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import experiments
from experiments.speed.worker import CRASHED

__all__ = ["Absent", "ContenderProcess"]


class Absent(Exception):
    """A contender that has no numbers: in a word (``status``), and why."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status, self.reason = status, reason


class ContenderProcess:
    """A process that does one thing at a time, when asked.

    Args:
        key: the contender.
        log: where its messages go.
        cache: where its compiler keeps what it compiled; an empty folder for a cold start.
        apart: whether a profile is to tell compiled kernels apart.
    """

    def __init__(self, key: str, log: Path, cache: Path, apart: bool = False) -> None:
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as messages:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "experiments.speed.worker", key],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                env=_environment(cache, apart),
                text=True,
                encoding="utf-8",
            )

    def __enter__(self) -> ContenderProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def wait_until_ready(self) -> None:
        """Until its library is imported; raises :class:`Absent` where it cannot be."""
        self._answer()

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Do something and wait for the answer.

        Raises:
            Absent: the contender does not have this case, raised an error, or its process ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._answer()

    def close(self) -> None:
        """End the process, if need be by force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer = json.loads(line)
        if answer["status"] not in ("ready", "done"):
            raise Absent(answer["status"], answer["reason"])
        return answer

    def _ended(self) -> Absent:
        code = self._process.wait()
        told = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f": {told[-1]}" if told else ""
        return Absent(CRASHED, f"its process ended with status {code}{last}")


def _environment(cache: Path, apart: bool) -> dict[str, str]:
    """This package importable, compilers' caches in ``cache``, and JAX on the processor."""
    root = str(Path(experiments.__path__[0]).parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
        "TORCHINDUCTOR_CPP_ENABLE_KERNEL_PROFILE": str(int(apart)),
        "JAX_PLATFORMS": "cpu",
    }
