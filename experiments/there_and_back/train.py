"""One training run: a variant on the data times its scale."""

from __future__ import annotations

from pathlib import Path

from experiments.there_and_back.config import Config
from experiments.there_and_back.variants import Variant, build
from pyro_vae import VAE, History, adam, fit
from pyro_vae.data import Dataset

__all__ = ["train"]


def train(
    config: Config, variant: Variant, data: Dataset, checkpoints: Path, progress: bool
) -> tuple[VAE, History]:
    """Train, or go on training, one VAE on data that are scaled already.

    Raises:
        NonFiniteError: the bound or a gradient ran off, as a learned T's may.
    """
    vae, objective = build(variant, config, data.train.event_shape[0])
    history = fit(
        vae,
        data.train,
        objective=objective,
        epochs=variant.epochs,
        batch_size=config.batch_size,
        optimizer=adam(config.learning_rate),
        validation=data.test,
        validate_every=max(1, variant.epochs // 20),
        seed=variant.seed,
        device=config.device,
        checkpoints=checkpoints,
        progress=progress,
    )
    return vae, history
