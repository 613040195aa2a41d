"""One training run: a density, a method and a seed."""

from __future__ import annotations

from pathlib import Path

from experiments.toy2d.config import Config
from experiments.toy2d.methods import METHODS, build
from pyro_vae import VAE, History, fit
from pyro_vae.data.densities import Density

__all__ = ["train"]

_MOST_EPOCHS = 60  # a checkpoint and a record of the bound after each


def train(
    config: Config,
    density: Density,
    method: str,
    seed: int,
    checkpoints: Path,
    progress: bool,
) -> tuple[VAE, History]:
    """Train, or go on training, one VAE on fresh points at each step, as many as asked for."""
    vae, objective = build(method, seed, config)
    settings = METHODS[method]
    batch_size = settings.batch_size(config)
    steps = settings.steps(config)
    epochs = max(n for n in range(1, _MOST_EPOCHS + 1) if steps % n == 0)
    history = fit(
        vae,
        density.stream(batch_size * (steps // epochs)),
        objective=objective,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=settings.optimizer(config),
        schedule=settings.schedule,
        seed=seed,
        device=config.device,
        checkpoints=checkpoints,
        progress=progress,
    )
    return vae, history
