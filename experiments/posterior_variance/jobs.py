"""A job: train a method on a seed, measure it, keep what the report needs."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from experiments.machine import describe_machine
from experiments.posterior_variance.config import Config
from experiments.posterior_variance.evaluate import arrays, measure
from experiments.posterior_variance.methods import METHODS
from experiments.posterior_variance.train import epochs_done, train
from experiments.run_folder import RunFolderError, write_json
from experiments.workers import side_by_side
from pyro_vae import VAE
from pyro_vae import data as datasets
from pyro_vae.data import Dataset
from pyro_vae.diagnostics import save, to_arviz

__all__ = ["Job", "all_jobs", "job_folder", "read_arrays", "read_result", "run_jobs"]

_DRAWS, _IMAGES = 100, 32  # in the arviz file
_SLUGS = {"Learned Σ": "learned", "Constant Σ": "constant", "BILBO": "bilbo"}

Job = tuple[str, int]
"""A method's name and a seed."""


def all_jobs(config: Config) -> list[Job]:
    """Seeds outside, methods inside."""
    return [(method, seed) for seed in range(config.seeds) for method in METHODS]


def job_folder(root: Path, job: Job) -> Path:
    """Where a job's files are."""
    return root / f"{_SLUGS[job[0]]}-seed{job[1]}"


# -- what a finished job left ---------------------------------------------------------------------


def read_result(root: Path, job: Job) -> dict[str, Any]:
    """What a finished job found.

    Raises:
        RunFolderError: the file is damaged. It is not replaced: only its owner knows whether a
            copy is left, or hours of training are to be done again.
    """
    path = _result_path(root, job)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if (result["method"], result["seed"]) != job:
            raise ValueError(f"that of {result['method']}, seed {result['seed']}")
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path}: expected the result of {job[0]}, seed {job[1]}; got {error!r}. "
            "Delete this file to do that run again."
        ) from error
    return result


def read_arrays(root: Path, job: Job) -> dict[str, NDArray[Any]]:
    """What the figures of a finished job need.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    path = job_folder(root, job) / "arrays.npz"
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return dict(stored)
    except Exception as error:  # whatever a damaged file makes of a reader
        raise RunFolderError(
            f"{path}: expected the arrays of {job[0]}, seed {job[1]}; got {error!r}. "
            f"Delete the folder {path.parent} to do that run again."
        ) from error


def _is_done(root: Path, job: Job) -> bool:
    """Whether a job is finished; damage is met here, before anything else is trained."""
    if not _result_path(root, job).exists():
        return False
    read_result(root, job)
    read_arrays(root, job)
    return True


def _result_path(root: Path, job: Job) -> Path:
    return job_folder(root, job) / "result.json"


# -- all jobs -------------------------------------------------------------------------------------


def run_jobs(config: Config, root: Path, data_dir: str | None, processes: int) -> None:
    """Do every job that is not done, ``processes`` at a time."""
    jobs = all_jobs(config)
    left = [job for job in jobs if not _is_done(root, job)]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} runs are done already")
    if not left:
        return
    data = _load_data(config, data_dir)
    if min(processes, len(left)) == 1:
        _one_by_one(config, root, data.to(config.device), left)
    else:
        calls = [(config, root, data_dir, job) for job in left]
        _side_by_side(config, calls, min(processes, len(left)), len(data.train))


def _load_data(config: Config, data_dir: str | None) -> Dataset:
    """The data set, as grey values in [0, 1]: what Fyffe trains on."""
    return datasets.digits() if config.data == "digits" else datasets.mnist(data_dir)


def _one_by_one(config: Config, root: Path, data: Dataset, jobs: Sequence[Job]) -> None:
    for number, job in enumerate(jobs, 1):
        print(f"run {number} of {len(jobs)}: {job[0]}, seed {job[1]}", flush=True)
        _say(_run_job(config, root, data, job, progress=True))


def _side_by_side(
    config: Config, calls: list[tuple[Config, Path, str | None, Job]], processes: int, count: int
) -> None:
    print(f"{len(calls)} runs, {processes} at a time", flush=True)
    folders = [job_folder(root, job) for _, root, _, job in calls]
    with (
        tqdm(total=len(calls) * config.epochs, unit="epoch", dynamic_ncols=True) as bar,
        side_by_side(processes, _load_and_run, calls) as pending,
    ):
        while pending:
            done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                _say(future.result())
            trained = sum(epochs_done(config, folder, count) for folder in folders)
            if trained != bar.n:
                bar.update(trained - bar.n)


def _load_and_run(config: Config, root: Path, data_dir: str | None, job: Job) -> dict[str, Any]:
    data = _load_data(config, data_dir).to(config.device)
    return _run_job(config, root, data, job, progress=False)


def _say(result: dict[str, Any]) -> None:
    tqdm.write(
        f"{result['method']}, seed {result['seed']}: bound {result['bound']:.2f}, log evidence "
        f"{result['log_evidence']:.2f} nats an image, {result['training_seconds']:.0f} s"
    )


# -- one job --------------------------------------------------------------------------------------


def _run_job(config: Config, root: Path, data: Dataset, job: Job, progress: bool) -> dict[str, Any]:
    method, seed = job
    folder = job_folder(root, job)
    vae, history = train(config, method, seed, data, folder, progress)
    started = time.perf_counter()
    measured = measure(vae, data, config)
    found = arrays(vae, data, seed)
    try:
        _keep(folder, vae, data, found, with_posterior=seed == 0)
        result = {
            "method": method,
            "seed": seed,
            **measured,
            "training_seconds": sum(history["seconds"]),
            "evaluation_seconds": time.perf_counter() - started,
            "machine": describe_machine(config.device),
            "history": history.records,
        }
        write_json(_result_path(root, job), result)  # last: it says that the job is done
    except OSError as error:
        raise RunFolderError(
            f"{folder}: expected to write the results of this run; got {error}. Its training is "
            "kept: make room, then the same command goes on."
        ) from error
    for leftover in (folder / "checkpoints", *folder.glob(".posterior.nc.*")):  # of killed runs
        shutil.rmtree(leftover, ignore_errors=True)
    return result


def _keep(
    folder: Path, vae: VAE, data: Dataset, found: dict[str, NDArray[Any]], with_posterior: bool
) -> None:
    # In memory first: a disk that is full is then an OSError, whoever made the bytes.
    npz, weights = io.BytesIO(), io.BytesIO()
    np.savez_compressed(npz, **found)  # type: ignore[arg-type]
    torch.save(vae.state_dict(), weights)
    (folder / "arrays.npz").write_bytes(npz.getvalue())
    (folder / "vae.pt").write_bytes(weights.getvalue())
    if with_posterior:
        x = data.test.batch(slice(0, _IMAGES))
        save(to_arviz(vae.model, vae.guide, x, num_samples=_DRAWS, seed=0), folder / "posterior.nc")
