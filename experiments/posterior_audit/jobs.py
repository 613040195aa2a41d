"""A job: train a method, ask every diagnostic, keep what the report needs."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from experiments.jobs import JobFolder, do_jobs, slug
from experiments.machine import describe_machine
from experiments.posterior_audit.audits import Audited, audit
from experiments.posterior_audit.config import Config
from experiments.posterior_audit.methods import Method
from experiments.posterior_audit.train import load, once, train
from pyro_vae import VAE
from pyro_vae.data import DataError, Dataset

__all__ = ["all_jobs", "folder_of", "run_all"]

_OF_TEST, _OF_TRAINING = 1_000_003, 1_000_033  # seeds of the binarisation


def all_jobs(config: Config) -> list[Method]:
    """Objectives outside, guides inside."""
    return [Method(guide, each) for each in config.objectives for guide in config.guides]


def folder_of(root: Path, method: Method) -> JobFolder:
    """Where a job's files are."""
    return JobFolder(root / slug(method.name), asdict(method))


def run_all(config: Config, root: Path, data_dir: str | None, processes: int) -> None:
    """Do every job that is not done."""
    work = partial(_work, config, root, data_dir)
    prepare = partial(load, config, data_dir)
    do_jobs(all_jobs(config), partial(folder_of, root), work, processes, prepare)


def _work(config: Config, root: Path, data_dir: str | None, method: Method, progress: bool) -> str:
    folder = folder_of(root, method)
    data = load(config, data_dir).to(config.device)
    vae, history = train(config, method, data, folder.checkpoints, progress)
    started = time.perf_counter()
    with folder.writing():
        numbers, arrays = audit(_audited(vae, config, data, folder.path))
    result = {
        **numbers,
        "training_seconds": sum(history["seconds"]),
        "evaluation_seconds": time.perf_counter() - started,
        "machine": describe_machine(config.device),
    }
    folder.keep(result, arrays, vae)
    return (
        f"{method.name}: bound {numbers['bound']:.2f}, log p(x) {numbers['log_evidence']:.2f} nats "
        f"an image, k\N{COMBINING CIRCUMFLEX ACCENT} too large for {numbers['share_above']:.1%}"
    )


def _audited(vae: VAE, config: Config, data: Dataset, folder: Path) -> Audited:
    if data.image_shape is None or data.test.labels is None:
        raise DataError(f"{data.name}: expected images with labels; got data without.")
    test = once(data.test, _OF_TEST)
    few = slice(0, config.few)
    return Audited(
        vae=vae,
        config=config,
        test=test,
        labels=data.test.labels,
        few=test[few],
        few_trained=once(data.train, _OF_TRAINING)[few],
        image_shape=data.image_shape,
        folder=folder,
    )
