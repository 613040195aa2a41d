"""One training run: a method and a seed."""

from __future__ import annotations

from pathlib import Path

from experiments.posterior_variance.config import Config
from experiments.posterior_variance.methods import build
from pyro_vae import VAE, History, adam, fit
from pyro_vae.data import Dataset
from pyro_vae.training import Checkpoints

__all__ = ["epochs_done", "train"]


def train(
    config: Config, method: str, seed: int, data: Dataset, folder: Path, progress: bool
) -> tuple[VAE, History]:
    """Train, or go on training, one VAE; its checkpoints are in ``folder``."""
    vae, objective = build(method, seed, data.train.event_shape[0], config.hidden, config.latent)
    history = fit(
        vae,
        data.train,
        objective=objective,
        epochs=config.epochs,
        batch_size=config.batch_size,
        optimizer=adam(config.learning_rate),
        validation=data.test,
        validate_every=config.validate_every,
        seed=seed,
        device=config.device,
        checkpoints=_checkpoints(folder).folder,
        progress=progress,
    )
    return vae, history


def epochs_done(config: Config, folder: Path, count: int) -> int:
    """How far the run in ``folder``, on ``count`` data, has come, as its files tell any process."""
    if (folder / "result.json").exists():
        return config.epochs
    written = _checkpoints(folder).paths()
    steps = int(written[-1].stem.removeprefix("step-")) if written else 0
    return steps // -(-count // config.batch_size)


def _checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(folder / "checkpoints")
