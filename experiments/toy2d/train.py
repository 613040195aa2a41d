"""One training run: a density, a method and a seed."""

from __future__ import annotations

from pathlib import Path

from experiments.toy2d.config import Config
from experiments.toy2d.methods import METHODS, build
from pyro_vae import VAE, History, fit
from pyro_vae.data.densities import Density

__all__ = ["train"]

_EPOCHS = 60  # a checkpoint and a record of the bound after each


def train(
    config: Config,
    density: Density,
    method: str,
    seed: int,
    checkpoints: Path,
    progress: bool,
) -> tuple[VAE, History]:
    """Train, or go on training, one VAE on fresh points at each step."""
    vae, objective = build(method, seed, config)
    settings = METHODS[method]
    batch_size = settings.batch_size(config)
    steps_an_epoch = max(1, settings.steps(config) // _EPOCHS)
    history = fit(
        vae,
        density.stream(batch_size * steps_an_epoch),
        objective=objective,
        epochs=_EPOCHS,
        batch_size=batch_size,
        optimizer=settings.optimizer(config),
        schedule=settings.schedule,
        seed=seed,
        device=config.device,
        checkpoints=checkpoints,
        progress=progress,
    )
    return vae, history
