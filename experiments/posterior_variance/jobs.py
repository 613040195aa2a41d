"""A job: train a method on a seed, measure it, keep what the report needs."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path

from experiments.jobs import JobFolder, do_jobs, slug
from experiments.machine import describe_machine
from experiments.posterior_variance.config import Config
from experiments.posterior_variance.evaluate import arrays, measure
from experiments.posterior_variance.methods import METHODS
from experiments.posterior_variance.train import train
from pyro_vae import data as datasets
from pyro_vae.data import Dataset
from pyro_vae.diagnostics import save, to_arviz

__all__ = ["Job", "all_jobs", "folder_of", "run_all"]

_DRAWS, _IMAGES = 100, 32  # in the arviz file

Job = tuple[str, int]
"""A method's name and a seed."""


def all_jobs(config: Config) -> list[Job]:
    """Seeds outside, methods inside."""
    return [(method, seed) for seed in range(config.seeds) for method in METHODS]


def folder_of(root: Path, job: Job) -> JobFolder:
    """Where a job's files are."""
    method, seed = job
    name = slug(method).removesuffix("-σ")  # letters that every file system has
    return JobFolder(root / f"{name}-seed{seed}", {"method": method, "seed": seed})


def run_all(config: Config, root: Path, data_dir: str | None, processes: int) -> None:
    """Do every job that is not done."""
    work = partial(_work, config, root, data_dir)
    prepare = partial(_load_data, config, data_dir)
    do_jobs(all_jobs(config), partial(folder_of, root), work, processes, prepare)


def _load_data(config: Config, data_dir: str | None) -> Dataset:
    """The data set, as grey values in [0, 1]: what Fyffe trains on."""
    return datasets.digits() if config.data == "digits" else datasets.mnist(data_dir)


def _work(config: Config, root: Path, data_dir: str | None, job: Job, progress: bool) -> str:
    method, seed = job
    folder = folder_of(root, job)
    data = _load_data(config, data_dir).to(config.device)
    vae, history = train(config, method, seed, data, folder.checkpoints, progress)
    started = time.perf_counter()
    measured = measure(vae, data, config)
    found = arrays(vae, data, seed)
    if seed == 0:
        x = data.test.batch(slice(0, _IMAGES))
        posterior = to_arviz(vae.model, vae.guide, x, num_samples=_DRAWS, seed=0)
        with folder.writing():
            save(posterior, folder.path / "posterior.nc")
    result = {
        **measured,
        "training_seconds": sum(history["seconds"]),
        "evaluation_seconds": time.perf_counter() - started,
        "machine": describe_machine(config.device),
        "history": history.records,
    }
    folder.keep(result, found, vae)
    for leftover in folder.path.glob(".posterior.nc.*"):  # of killed runs
        shutil.rmtree(leftover, ignore_errors=True)
    return (
        f"{method}, seed {seed}: bound {measured['bound']:.2f}, log evidence "
        f"{measured['log_evidence']:.2f} nats an image, {result['training_seconds']:.0f} s"
    )
