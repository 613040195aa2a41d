"""One training run: a method and a seed."""

from __future__ import annotations

from pathlib import Path

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from experiments.iwae_mnist.config import Config
from experiments.iwae_mnist.methods import build
from pyro_vae import VAE, History, adam, fit
from pyro_vae.data import Dataset

__all__ = ["train"]

_EPSILON = 1e-4  # Adam's, as Burda et al. have it


def train(
    config: Config, method: str, seed: int, data: Dataset, checkpoints: Path, progress: bool
) -> tuple[VAE, History]:
    """Train, or go on training, one VAE on images binarised anew at each use."""
    mean = data.train.values.mean(0)
    vae, objective = build(method, seed, mean, config.hidden, config.latent)

    def staged(optimizer: Optimizer, steps: int) -> LRScheduler:
        first = config.rate(0.0)
        return LambdaLR(optimizer, lambda step: config.rate(step / steps) / first)

    history = fit(
        vae,
        data.train,
        objective=objective,
        epochs=config.epochs,
        batch_size=config.batch_size,
        optimizer=adam(config.rate(0.0), eps=_EPSILON),
        schedule=staged,
        seed=seed,
        device=config.device,
        checkpoints=checkpoints,
        progress=progress,
    )
    return vae, history
