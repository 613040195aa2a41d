"""One job: train a method on a seed, measure it, keep what the report needs."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from experiments.posterior_variance.config import Config
from experiments.posterior_variance.evaluate import arrays, measure
from experiments.posterior_variance.methods import METHODS
from experiments.posterior_variance.train import train
from experiments.run_folder import write_json
from pyro_vae import data as datasets
from pyro_vae.data import Dataset
from pyro_vae.diagnostics import save, to_arviz

__all__ = ["job_folder", "results", "run_jobs"]

_DRAWS, _IMAGES = 100, 32  # in the arviz file
_SLUGS = {"Learned Σ": "learned", "Constant Σ": "constant", "BILBO": "bilbo"}

Job = tuple[str, int]
"""A method's name and a seed."""


def load_data(config: Config, data_dir: str | None) -> Dataset:
    """The data set, as grey values in [0, 1]: what seed 003 trains on."""
    return datasets.digits() if config.data == "digits" else datasets.mnist(data_dir)


def job_folder(root: Path, job: Job) -> Path:
    """Where a job's files are."""
    return root / f"{_SLUGS[job[0]]}-seed{job[1]}"


def read_result(root: Path, job: Job) -> dict[str, Any]:
    """What a finished job found."""
    return json.loads((job_folder(root, job) / "result.json").read_text(encoding="utf-8"))


def run_jobs(config: Config, root: Path, data_dir: str | None, processes: int) -> None:
    """Do every job that is not done, ``processes`` at a time; seeds outside, methods inside."""
    jobs: list[Job] = [(method, seed) for seed in range(config.seeds) for method in METHODS]
    left = [job for job in jobs if not (job_folder(root, job) / "result.json").exists()]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} runs are done already")
    if processes == 1:
        _one_by_one(config, root, data_dir, left)
    else:
        _side_by_side(config, root, data_dir, left, processes)


def _one_by_one(config: Config, root: Path, data_dir: str | None, jobs: Sequence[Job]) -> None:
    if not jobs:
        return
    data = load_data(config, data_dir).to(config.device)
    for number, job in enumerate(jobs, 1):
        print(f"run {number} of {len(jobs)}: {job[0]}, seed {job[1]}", flush=True)
        _say(_run_job(config, root, data, job, progress=True))


def _side_by_side(
    config: Config, root: Path, data_dir: str | None, jobs: Sequence[Job], processes: int
) -> None:
    threads = max(1, (os.cpu_count() or 1) // processes)
    with ProcessPoolExecutor(
        processes, get_context("spawn"), torch.set_num_threads, (threads,)
    ) as pool:
        futures = [pool.submit(_load_and_run, config, root, data_dir, job) for job in jobs]
        for future in tqdm(as_completed(futures), total=len(jobs), unit="run"):
            _say(future.result())


def _load_and_run(config: Config, root: Path, data_dir: str | None, job: Job) -> dict[str, Any]:
    data = load_data(config, data_dir).to(config.device)
    return _run_job(config, root, data, job, progress=False)


def _run_job(
    config: Config, root: Path, data: Dataset, job: Job, progress: bool
) -> dict[str, Any]:
    method, seed = job
    folder = job_folder(root, job)
    vae, history = train(config, method, seed, data, folder, progress)
    started = time.perf_counter()
    measured = measure(vae, data, config)
    np.savez_compressed(folder / "arrays.npz", **arrays(vae, data, seed))
    if seed == 0:
        x = data.test.batch(slice(0, _IMAGES))
        save(to_arviz(vae.model, vae.guide, x, num_samples=_DRAWS, seed=0), folder / "posterior.nc")
    torch.save(vae.state_dict(), folder / "vae.pt")
    result = {
        "method": method,
        "seed": seed,
        **measured,
        "training_seconds": sum(history["seconds"]),
        "evaluation_seconds": time.perf_counter() - started,
        "history": history.records,
    }
    write_json(folder / "result.json", result)  # last: it says that the job is done
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return result


def _say(result: dict[str, Any]) -> None:
    tqdm.write(
        f"{result['method']}, seed {result['seed']}: bound {result['bound']:.2f}, log evidence "
        f"{result['log_evidence']:.2f} nats an image, {result['training_seconds']:.0f} s"
    )


def results(config: Config, root: Path) -> Iterator[dict[str, Any]]:
    """Every job's result."""
    for seed in range(config.seeds):
        for method in METHODS:
            yield read_result(root, (method, seed))
