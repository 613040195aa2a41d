"""One training run: a density, a method and a seed."""

from __future__ import annotations

from pathlib import Path

from experiments.toy2d.config import Config
from experiments.toy2d.methods import METHODS, build
from pyro_vae import VAE, History, adam, fit, step_decay
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
    batch_size = METHODS[method].batch_size(config)
    steps_an_epoch = max(1, METHODS[method].steps(config) // _EPOCHS)
    history = fit(
        vae,
        density.stream(batch_size * steps_an_epoch),
        objective=objective,
        epochs=_EPOCHS,
        batch_size=batch_size,
        optimizer=adam(config.learning_rate, amsgrad=True),
        schedule=step_decay(0.6, 0.7, 0.8, 0.9),
        seed=seed,
        device=config.device,
        checkpoints=checkpoints,
        progress=progress,
    )
    return vae, history
