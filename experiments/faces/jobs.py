"""A job: train a method, measure it, keep what the report needs."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from experiments.faces.config import Config
from experiments.faces.evaluate import arrays, measure
from experiments.faces.methods import METHODS
from experiments.faces.train import load, train
from experiments.jobs import JobFolder, do_jobs, slug
from experiments.machine import describe_machine

__all__ = ["folder_of", "run_all"]

_LETTERS = str.maketrans({"σ": "sigma", "=": "", "/": ""})  # such that every file system has


def folder_of(root: Path, method: str) -> JobFolder:
    """Where a job's files are."""
    name = slug(method).translate(_LETTERS).replace("--", "-")
    return JobFolder(root / name, {"method": method})


def run_all(config: Config, root: Path, data_dir: str | None, processes: int) -> None:
    """Do every job that is not done."""
    work = partial(_work, config, root, data_dir)
    prepare = partial(load, config.data, data_dir)
    do_jobs(list(METHODS), partial(folder_of, root), work, processes, prepare)


def _work(config: Config, root: Path, data_dir: str | None, method: str, progress: bool) -> str:
    folder = folder_of(root, method)
    data = load(config.data, data_dir).to(config.device)
    vae, history = train(config, method, data, folder.checkpoints, progress)
    started = time.perf_counter()
    measured, found = measure(vae, data, config)
    result = {
        **measured,
        "training_seconds": sum(history["seconds"]),
        "evaluation_seconds": time.perf_counter() - started,
        "machine": describe_machine(config.device),
        "history": history.records,
    }
    folder.keep(result, found | arrays(vae, data), vae)
    return f"{method}: bound {measured['bound']:.1f} nats, {result['training_seconds']:.0f} s"
