"""One training run, and the faces it is made with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from experiments.faces.config import Config
from experiments.faces.methods import build
from pyro_vae import VAE, History, adam, fit
from pyro_vae import data as datasets
from pyro_vae.data import Dataset

__all__ = ["load", "train"]


def load(name: str, data_dir: str | None) -> Dataset:
    """Images, [N, channels, rows, columns]."""
    if name == "celeba":
        return datasets.celeba(data_dir)
    data = datasets.frey_faces(data_dir)
    shape = (1, *(data.image_shape or ()))
    train, test = (
        replace(part, values=part.values.unflatten(1, shape)) for part in (data.train, data.test)
    )
    return replace(data, train=train, test=test, image_shape=None)


def train(
    config: Config, method: str, data: Dataset, checkpoints: Path, progress: bool
) -> tuple[VAE, History]:
    """Train, or go on training, one VAE."""
    vae, objective = build(method, data.train.event_shape, config.width, config.latent)
    epochs = config.epochs(len(data.train))
    history = fit(
        vae,
        data.train,
        objective=objective,
        epochs=epochs,
        batch_size=config.batch_size,
        optimizer=adam(config.learning_rate),
        validation=data.test.take(slice(0, config.held_out)),
        validate_every=max(1, epochs // 20),
        device=config.device,
        checkpoints=checkpoints,
        checkpoint_every=500,
        progress=progress,
    )
    return vae, history
