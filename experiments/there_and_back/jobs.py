"""A job: train a variant, measure it, keep what figures and tables need."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.jobs import JobFolder, do_jobs
from experiments.machine import describe_machine
from experiments.there_and_back.config import Config
from experiments.there_and_back.data import load, scaled
from experiments.there_and_back.departure import departure
from experiments.there_and_back.equations import CHECKS, Trained
from experiments.there_and_back.evaluate import arrays, measure
from experiments.there_and_back.train import train
from experiments.there_and_back.variants import STUDIES, Variant, build, variants
from pyro_vae import VAE, NonFiniteError
from pyro_vae.data import Dataset

__all__ = ["folder_of", "results_of", "run_all"]


def folder_of(root: Path, variant: Variant) -> JobFolder:
    """Where a job's files are."""
    return JobFolder(root / variant.name, asdict(variant))


def results_of(root: Path, found: Iterable[Variant]) -> dict[Variant, dict[str, Any]]:
    """What the finished jobs of variants found."""
    return {variant: folder_of(root, variant).result() for variant in found}


def run_all(config: Config, root: Path, data_dir: str | None, processes: int) -> None:
    """Do every job that is not done."""
    work = partial(_work, config, root, data_dir)
    prepare = partial(load, config.data, data_dir)
    do_jobs(variants(config), partial(folder_of, root), work, processes, prepare)


def _work(
    config: Config, root: Path, data_dir: str | None, variant: Variant, progress: bool
) -> str:
    folder = folder_of(root, variant)
    data = scaled(load(config.data, data_dir), variant.scale).to(config.device)
    machine = describe_machine(config.device)
    try:
        vae, history = train(config, variant, data, folder.checkpoints, progress)
    except NonFiniteError as error:
        # What a learned T may end in: a finding, not a failure of the run.
        vae, _ = build(variant, config, data.train.event_shape[0])
        folder.keep({"failed": str(error), "machine": machine}, {}, vae)
        return f"{variant.name}: {error}"
    started = time.perf_counter()
    numbers = measure(vae, variant, data, config)
    if variant in set(STUDIES["equations"](config)):
        numbers |= _checks(vae, data, config)
    result: dict[str, Any] = {
        **numbers,
        "history": list(history),
        "training_seconds": sum(history["seconds"]),
        "evaluation_seconds": time.perf_counter() - started,
        "machine": machine,
    }
    folder.keep(result, arrays(vae, variant, data), vae)
    return f"{variant.name}: bound {numbers['bound']:.2f} nats, {result['training_seconds']:.0f} s"


def _checks(vae: VAE, data: Dataset, config: Config) -> dict[str, Any]:
    """The equations at data that were trained on and at others, and where the evidence departs."""
    vae = vae.double()
    training = data.train.draw().double()
    few = {"training": training, "held-out": data.test.draw().double()}
    checks, departures = {}, {}
    for name, x in few.items():
        trained = Trained(
            vae,
            x[: config.checked],
            training,
            samples=config.elbo_samples,
            evidence_samples=config.evidence_samples,
            evidence_cells=config.evidence_cells,
            determinant_steps=config.determinant_steps,
        )
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            checks[name] = [asdict(check) for compute in CHECKS for check in compute(trained)]
            departures[name] = asdict(departure(trained))
    vae.float()
    return {"checks": checks, "departure": departures}
