"""One training run: a method and a seed."""

from __future__ import annotations

from pathlib import Path

from experiments.posterior_variance.config import Config
from experiments.posterior_variance.methods import build
from pyro_vae import VAE, History, adam, fit
from pyro_vae.data import Dataset

__all__ = ["train"]


def train(
    config: Config, method: str, seed: int, data: Dataset, checkpoints: Path, progress: bool
) -> tuple[VAE, History]:
    """Train, or go on training, one VAE."""
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
        checkpoints=checkpoints,
        progress=progress,
    )
    return vae, history
