"""A job: train a method on a seed, measure it, keep what the report needs."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np

from experiments.iwae_mnist.config import Config
from experiments.iwae_mnist.evaluate import measure, signal_to_noise_of
from experiments.iwae_mnist.train import train
from experiments.jobs import JobFolder, do_jobs, slug
from experiments.machine import describe_machine
from pyro_vae import data as datasets
from pyro_vae.data import Dataset, Dynamic

__all__ = ["SNR_METHOD", "Job", "all_jobs", "folder_of", "run_all"]

SNR_METHOD = "VAE-1"
"""The trained VAE at which gradients are compared."""

Job = tuple[str, int]
"""A method's name and a seed."""


def all_jobs(config: Config) -> list[Job]:
    """Seeds outside, methods inside."""
    return [(method, seed) for seed in range(config.seeds) for method in config.methods]


def folder_of(root: Path, job: Job) -> JobFolder:
    """Where a job's files are."""
    method, seed = job
    return JobFolder(root / f"{slug(method)}-seed{seed}", {"method": method, "seed": seed})


def run_all(config: Config, root: Path, data_dir: str | None, processes: int) -> None:
    """Do every job that is not done."""
    work = partial(_work, config, root, data_dir)
    prepare = partial(_load_data, config, data_dir)
    do_jobs(all_jobs(config), partial(folder_of, root), work, processes, prepare)


def _load_data(config: Config, data_dir: str | None) -> Dataset:
    binarised = Dynamic()
    if config.data == "digits":
        return datasets.digits(binarised)
    return datasets.mnist(data_dir, binarisation=binarised)


def _work(config: Config, root: Path, data_dir: str | None, job: Job, progress: bool) -> str:
    method, seed = job
    folder = folder_of(root, job)
    data = _load_data(config, data_dir).to(config.device)
    vae, history = train(config, method, seed, data, folder.checkpoints, progress)
    started = time.perf_counter()
    measured, found = measure(vae, data, config)
    found["bound"] = np.array(history["bound"])
    if method == SNR_METHOD:
        found |= signal_to_noise_of(vae, data, config)
    result = {
        **measured,
        "training_seconds": sum(history["seconds"]),
        "evaluation_seconds": time.perf_counter() - started,
        "machine": describe_machine(config.device),
    }
    folder.keep(result, found, vae)
    return (
        f"{method}, seed {seed}: NLL {measured['nll']:.2f} nats an image, "
        f"{result['training_seconds']:.0f} s"
    )
