"""A job: train a method on a density and a seed, measure it, keep what the report needs."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from experiments.jobs import JobFolder, do_jobs, slug
from experiments.machine import describe_machine
from experiments.toy2d.config import Config
from experiments.toy2d.evaluate import arrays, measure, on_the_grid
from experiments.toy2d.train import train
from pyro_vae.data.densities import DENSITIES

__all__ = ["Job", "all_jobs", "folder_of", "run_all"]

Job = tuple[str, str, int]
"""A density's and a method's name, and a seed."""


def all_jobs(config: Config) -> list[Job]:
    """Seeds outside, methods inside."""
    return [
        (density, method, seed)
        for seed in range(config.seeds)
        for density in config.densities
        for method in config.methods
    ]


def folder_of(root: Path, job: Job) -> JobFolder:
    """Where a job's files are."""
    density, method, seed = job
    told = {"density": density, "method": method, "seed": seed}
    return JobFolder(root / f"{density}-{slug(method)}-seed{seed}", told)


def run_all(config: Config, root: Path, processes: int) -> None:
    """Do every job that is not done."""
    work = partial(_work, config, root)
    do_jobs(all_jobs(config), partial(folder_of, root), work, processes)


def _work(config: Config, root: Path, job: Job, progress: bool) -> str:
    name, method, seed = job
    folder, density = folder_of(root, job), DENSITIES[name]()
    vae, history = train(config, density, method, seed, folder.checkpoints, progress)
    started = time.perf_counter()
    measured, found = measure(vae, method, density, config), arrays(vae, density, config)
    result = {
        **measured,
        **on_the_grid(found),
        "training_seconds": sum(history["seconds"]),
        "evaluation_seconds": time.perf_counter() - started,
        "machine": describe_machine(config.device),
        "bound": history["bound"],
    }
    folder.keep(result, found, vae)
    seconds = result["training_seconds"]
    return f"{density.name}, {method}, seed {seed}: gap {measured['gap']:.4f} bits, {seconds:.0f} s"
