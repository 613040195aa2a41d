"""Data, and one training run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from experiments.posterior_audit.config import Config
from experiments.posterior_audit.methods import Method, build
from pyro_vae import VAE, History, adam, fit
from pyro_vae import data as datasets
from pyro_vae.data import Dataset, Dynamic, Examples

__all__ = ["load", "once", "train"]


def load(config: Config, data_dir: str | None) -> Dataset:
    """The data set, binarised anew at each use."""
    if config.data == "digits":
        return datasets.digits(Dynamic())
    return datasets.mnist(data_dir, binarisation=Dynamic())


def once(examples: Examples, seed: int) -> Tensor:
    """All examples, binarised once and for all of the run."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return examples.draw()


def train(
    config: Config, method: Method, data: Dataset, checkpoints: Path, progress: bool
) -> tuple[VAE, History]:
    """Train, or go on training, one VAE."""
    size = data.train.event_shape[0]
    vae, objective = build(method, config.seed, size, config.hidden, config.latent)
    history = fit(
        vae,
        data.train,
        objective=objective,
        epochs=config.epochs,
        batch_size=config.batch_size,
        optimizer=adam(config.learning_rate),
        seed=config.seed,
        device=config.device,
        checkpoints=checkpoints,
        progress=progress,
    )
    return vae, history
