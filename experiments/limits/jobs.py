"""The jobs: a flow and its Σ-VAEs for each density, and a VAE of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from experiments.jobs import JobFolder, do_jobs
from experiments.limits.channel import measure_channel
from experiments.limits.config import Config
from experiments.limits.sigma_vae import measure_limit
from experiments.machine import describe_machine

__all__ = ["CHANNEL", "folder_of", "run_all"]

CHANNEL = "channel"
"""The job that is no density's."""


def folder_of(root: Path, job: str) -> JobFolder:
    """Where a job's files are."""
    return JobFolder(root / job, {"job": job})


def run_all(config: Config, root: Path, processes: int) -> None:
    """Do every job that is not done."""
    work = partial(_work, config, root)
    do_jobs([CHANNEL, *config.densities], partial(folder_of, root), work, processes)


def _work(config: Config, root: Path, job: str, progress: bool) -> str:
    folder = folder_of(root, job)
    machine: dict[str, Any] = {"machine": describe_machine(config.device)}
    if job == CHANNEL:
        found, arrays, vae = measure_channel(config, folder.checkpoints, progress)
        folder.keep(found | machine, arrays, vae)
        total = found["all"]
        return f"channel: KL {total['kl']:.2f} nats, capacity {total['capacity']:.2f}"
    found, flow = measure_limit(config, job, folder.checkpoints, progress)
    folder.keep(found | machine, {}, flow)
    return f"{job}: −ELBO {found['gaps'][-1]:.2g} nats above −log p at ε = {config.epsilons[-1]:g}"
