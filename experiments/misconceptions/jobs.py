"""The jobs: an image VAE for each loss and scale, and a VAE for each mixture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from experiments.jobs import JobFolder, do_jobs, slug
from experiments.machine import describe_machine
from experiments.misconceptions.config import Config
from experiments.misconceptions.mixtures import CONTROL, MIXTURES, measure_mixture
from experiments.misconceptions.scales import LOSSES, measure_scale
from pyro_vae import data as datasets
from pyro_vae.data import Dataset

__all__ = ["Job", "folder_of", "mixture_jobs", "run_all", "scale_jobs"]

Job = tuple[str, float]
"""A loss and a scale, or one of ``MIXTURES`` and its number of components."""


def scale_jobs(config: Config) -> list[Job]:
    """Section 5.1."""
    return [(loss, scale) for loss in LOSSES for scale in config.scales]


def mixture_jobs(config: Config) -> list[Job]:
    """Section 5.2, and the control of the largest."""
    mixtures: list[Job] = [("mixture", components) for components in config.components]
    return [*mixtures, (CONTROL, max(config.components))]


def folder_of(root: Path, job: Job) -> JobFolder:
    """Where a job's files are."""
    name, value = job
    return JobFolder(root / f"{slug(name)}-{value:g}", {"job": name, "value": value})


def run_all(config: Config, root: Path, data_dir: str | None, processes: int) -> None:
    """Do every job that is not done."""
    work = partial(_work, config, root, data_dir)
    jobs = [*scale_jobs(config), *mixture_jobs(config)]
    prepare = partial(_load_data, config, data_dir)
    do_jobs(jobs, partial(folder_of, root), work, processes, prepare)


def _load_data(config: Config, data_dir: str | None) -> Dataset:
    return datasets.digits() if config.data == "digits" else datasets.mnist(data_dir)


def _work(config: Config, root: Path, data_dir: str | None, job: Job, progress: bool) -> str:
    name, value = job
    folder = folder_of(root, job)
    machine: dict[str, Any] = {"machine": describe_machine(config.device)}
    if name in MIXTURES:
        found, vae = measure_mixture(config, name, int(value), folder.checkpoints, progress)
        folder.keep(found | machine, {}, vae)
        return f"{name}, {value:g} normals: gap {found['gap']:.4f} bits"
    images = _load_data(config, data_dir)
    found, arrays, vae = measure_scale(config, images, name, value, folder.checkpoints, progress)
    folder.keep(found | machine, arrays, vae)
    return f"{name}, scale {value:g}: KL {found['kl']:.2f} nats"
