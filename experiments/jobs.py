"""Jobs that leave a folder each: what is done is not done again, the others side by side."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from experiments.run_folder import RunFolderError, write_json
from experiments.workers import side_by_side
from pyro_vae.training import Checkpoints

__all__ = ["JobFolder", "do_jobs", "slug"]

Job = TypeVar("Job")


def do_jobs(
    jobs: Sequence[Job],
    folder_of: Callable[[Job], JobFolder],
    work: Callable[[Job, bool], str],
    processes: int,
    prepare: Callable[[], object] = lambda: None,
) -> None:
    """Do every job that is not done, ``processes`` at a time.

    Args:
        jobs: what can be sent to another process.
        folder_of: where a job's result is, or will be.
        work: does a job, with or without a progress bar of its own; the line to say at its end.
        processes: how many at a time.
        prepare: called once if anything is to be done: what is missing is met, or downloaded, here.
    """
    left = [job for job in jobs if not folder_of(job).is_done()]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} runs are done already")
    if left:
        prepare()
    if min(processes, len(left)) <= 1:
        for number, job in enumerate(left, 1):
            print(f"run {number} of {len(left)}: {folder_of(job)}", flush=True)
            tqdm.write(work(job, True))
        return
    print(f"{len(left)} runs, {processes} at a time", flush=True)
    folders = [folder_of(job) for job in left]
    with (
        tqdm(total=len(left), unit="run", dynamic_ncols=True) as bar,
        side_by_side(min(processes, len(left)), work, [(job, False) for job in left]) as pending,
    ):
        while pending:
            done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                tqdm.write(future.result())
                bar.update()
            training = [folder for folder in folders if folder.checkpoints.exists()]
            bar.set_postfix_str(", ".join(f"{f.path.name} {f.steps():,}" for f in training))


def slug(name: str) -> str:
    """A name as part of a folder's.

    >>> slug("IWAE-10, DReG")
    'iwae-10-dreg'
    """
    return name.lower().replace(", ", "-").replace(" ", "-")


@dataclass(frozen=True)
class JobFolder:
    """What a job leaves: ``result.json``, written last; ``arrays.npz`` for figures; the weights.

    Args:
        path: the folder.
        job: what the result must say of which job it is.
    """

    path: Path
    job: Mapping[str, Any]

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.job.items())

    @property
    def checkpoints(self) -> Path:
        """Where training keeps its checkpoints; removed when the job is done."""
        return self.path / "checkpoints"

    def steps(self) -> int:
        """How far training has come, as its checkpoints tell any process."""
        written = Checkpoints(self.checkpoints).paths()
        return int(written[-1].stem.removeprefix("step-")) if written else 0

    def is_done(self) -> bool:
        """Whether the job is finished; damage is met here, before anything else is trained."""
        if not self._result.exists():
            return False
        self.result()
        self.arrays()
        return True

    def result(self) -> dict[str, Any]:
        """What the finished job found.

        Raises:
            RunFolderError: the file is damaged or another job's. It is not replaced: only its
                owner knows whether a copy is left, or hours of training are to be done again.
        """
        try:
            result = json.loads(self._result.read_text(encoding="utf-8"))
            if {name: result[name] for name in self.job} != dict(self.job):
                raise ValueError("that of another run")
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{self._result}: expected the result of {self}; got {error!r}. Delete this file "
                "to do that run again."
            ) from error
        return result

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What the figures of the finished job need.

        Raises:
            RunFolderError: the file is missing or damaged.
        """
        path = self.path / "arrays.npz"
        try:
            with path.open("rb") as file, np.load(file) as stored:
                return dict(stored)
        except Exception as error:  # whatever a damaged file makes of a reader
            raise RunFolderError(
                f"{path}: expected the arrays of a finished run; got {error!r}. Delete the folder "
                f"{self.path} to do that run again."
            ) from error

    def keep(
        self, result: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], pair: nn.Module
    ) -> None:
        """Write everything, the result last: it says that the job is done.

        Raises:
            RunFolderError: the disk is full, or the folder cannot be written.
        """
        # In memory first: a disk that is full is then an OSError, whoever made the bytes.
        npz, weights = io.BytesIO(), io.BytesIO()
        np.savez_compressed(npz, **arrays)  # type: ignore[arg-type]
        torch.save(pair.state_dict(), weights)
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "arrays.npz").write_bytes(npz.getvalue())
            (self.path / "vae.pt").write_bytes(weights.getvalue())
            write_json(self._result, {**self.job, **result})
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around what writes into the folder.

        Raises:
            RunFolderError: the disk is full, or the folder cannot be written.
        """
        try:
            yield
        except OSError as error:
            raise RunFolderError(
                f"{self.path}: expected to write the results of this run; got {error}. Its "
                "training is kept: make room, then the same command goes on."
            ) from error

    @property
    def _result(self) -> Path:
        return self.path / "result.json"
