"""Section 4.3: the KL of a latent dimension is the capacity of a noisy Gaussian channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from experiments.limits.config import Config
from pyro_vae import (
    ELBO,
    VAE,
    NormalGuide,
    NormalLikelihood,
    OptimalVariance,
    StandardNormalPrior,
    fit,
)
from pyro_vae.data import digits
from pyro_vae.evaluation import active_units, posterior_moments
from pyro_vae.nn import MLP

__all__ = ["build", "capacity_and_kl", "measure_channel", "measures"]


def measure_channel(
    config: Config, checkpoints: Path, progress: bool
) -> tuple[dict[str, Any], dict[str, NDArray[Any]], VAE]:
    """Train a VAE on digits; of each latent dimension, in nats, the capacity of the channel it is
    and the KL it costs, over held-out images."""
    data = digits()
    vae = build(config, data.train.event_shape[0])
    history = fit(
        vae,
        data.train,
        objective=ELBO(analytic_kl=True),
        epochs=config.epochs,
        batch_size=config.batch_size,
        checkpoints=checkpoints,
        device=config.device,
        progress=progress,
    )
    result, arrays = measures(vae, data.test.draw().to(config.device))
    return result | {"training_seconds": sum(history["seconds"])}, arrays, vae


def measures(vae: VAE, x: torch.Tensor) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Of the trained VAE on images x: sums over dimensions, of P + N the mean, for all of them and
    for the active ones; and of each dimension."""
    mean, variance = posterior_moments(vae.guide, x)
    found = capacity_and_kl(mean.double(), variance.double())
    active = active_units(vae.guide, x).active
    result = {
        "active_units": int(active.sum()),
        "all": _totals(found),
        "active": _totals({name: value[active] for name, value in found.items()}),
    }
    return result, {name: value.cpu().numpy() for name, value in found.items()}


def _totals(found: dict[str, torch.Tensor]) -> dict[str, float]:
    sums = {name: found[name].sum().item() for name in ("kl", "capacity")}
    return {**sums, "power": found["power"].mean().item()}


def capacity_and_kl(mean: torch.Tensor, variance: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of each latent dimension, averages over the data, [latent]: the capacity R = −½ log N, nats
    (eq. 35), the KL to N(0, 1), nats (eq. 36), and P + N, whose excess over 1 is twice the
    difference of the two (eq. 37)."""
    power = (mean.square() + variance).mean(0)
    capacity = -0.5 * variance.log().mean(0)
    return {"capacity": capacity, "kl": capacity + 0.5 * (power - 1), "power": power}


def build(config: Config, pixels: int) -> VAE:
    """The VAE as it is before training."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return VAE(
            prior=StandardNormalPrior(config.latent),
            likelihood=NormalLikelihood(
                MLP(config.latent, config.hidden, pixels), OptimalVariance()
            ),
            guide=NormalGuide(MLP(pixels, config.hidden, 2 * config.latent)),
        )
