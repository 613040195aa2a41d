"""What is measured of one trained VAE: on fresh points, and on grids for the figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import TransformedDistribution

from experiments.toy2d.config import Config
from experiments.toy2d.methods import METHODS
from pyro_vae import VAE, Objective
from pyro_vae.data.densities import Density
from pyro_vae.evaluation import log_evidence

__all__ = ["HALF_WIDTH", "LATENT_HALF_WIDTH", "arrays", "measure", "on_the_grid"]

HALF_WIDTH = 0.5  # of the data's square
LATENT_HALF_WIDTH = 3.0  # holds 99.5 % of N(0, I)
_DARK = 0.01  # of the density's mean over its own points
_FLOOR = 1e-20  # of the paper's notebook: caps a point at 66.4 bits
_EVALUATION_SEED = 1_000_003


def measure(vae: VAE, method: str, density: Density, config: Config) -> dict[str, Any]:
    """Numbers in bits, on fresh points: minus the bound the method was trained on; the negative
    log-likelihood by importance sampling; its gap to the entropy, the mean of
    log p(x) − log p_model(x) over the same points, whose standard error is far smaller."""
    chosen = METHODS[method]
    with torch.random.fork_rng([]):
        torch.manual_seed(_EVALUATION_SEED)
        x = density.sample(chosen.points(config)).to(config.device)
    true = density.log_prob(x.double())
    bound = _bound(vae, chosen.objective(config), x, config.bound_draws)
    evidence = log_evidence(vae.model, vae.guide, x, num_samples=chosen.samples(config))
    below, gap = true - bound, true - evidence.value
    return {
        "entropy": _bits(density.entropy),
        "negative_bound": _bits(density.entropy + below.mean().item()),
        "bound_error": _bits(_standard_error(below)),
        "nll": _bits(density.entropy + gap.mean().item()),
        "gap": _bits(gap.mean().item()),
        "gap_error": _bits(_standard_error(gap)),
        "sampling_error": _bits(evidence.mean_error()),
    }


def _bound(vae: VAE, objective: Objective, x: Tensor, draws: int) -> Tensor:
    """The mean of several draws, [points]: of one, few points have most of the error."""
    with torch.no_grad(), torch.random.fork_rng([]):
        torch.manual_seed(_EVALUATION_SEED)
        found = [objective.per_datum(vae.model, vae.guide, x) for _ in range(draws)]
    return torch.stack(found).mean(0)


def _standard_error(values: Tensor) -> float:
    return values.std().item() / math.sqrt(len(values))


def _bits(nats: float) -> float:
    return nats / math.log(2)


def arrays(vae: VAE, density: Density, config: Config) -> dict[str, NDArray[Any]]:
    """Grids: the true and the model's density, where the latent plane decodes to (of a flow prior,
    the plane of its base), and the true density there."""
    square = _grid(HALF_WIDTH, config.grid, edges=config.grid_edges)
    plane = _grid(LATENT_HALF_WIDTH, config.grid).to(config.device)
    flat = square.reshape(-1, 2)
    evidence = log_evidence(
        vae.model, vae.guide, flat.to(config.device), num_samples=config.grid_samples
    ).value.cpu()
    decoded = vae.decode(_from_the_base(vae, plane)).cpu()
    found = {
        "true": density.log_prob(flat.double()).exp().reshape(square.shape[:-1]),
        "model": evidence.double().exp().reshape(square.shape[:-1]),
        "decoded": decoded,
        "true_at_decoded": density.log_prob(decoded.double()).exp(),
    }
    return {name: value.numpy().astype(np.float32) for name, value in found.items()}


@torch.no_grad()
def _from_the_base(vae: VAE, plane: Tensor) -> Tensor:
    """Latents at points of N(0, I): themselves, or what a flow prior makes of them."""
    prior = vae.prior()
    if isinstance(prior, TransformedDistribution):
        for transform in prior.transforms:
            plane = transform(plane)
    return plane


def on_the_grid(found: dict[str, NDArray[Any]]) -> dict[str, float]:
    """The paper's measure on the grid, in bits: Σ p(x) · −log₂ p_model(x); and the part of the
    model's mass where there are next to no data."""
    true, model = found["true"].astype(np.float64), found["model"].astype(np.float64)
    cell = (2 * HALF_WIDTH / len(true)) ** 2
    dark = true < _DARK * (true**2).sum() / true.sum()
    return {
        "grid_nll": float(-(true * np.log2(np.maximum(model, _FLOOR))).sum() * cell),
        "grid_entropy": float(-(true * np.log2(np.maximum(true, _FLOOR))).sum() * cell),
        # What is not on the grid at all lies where there are no data, too.
        "dark_mass": float(1 - model[~dark].sum() * cell),
    }


def _grid(half_width: float, points: int, *, edges: bool = False) -> Tensor:
    """The centres of cells, or their lower edges, [points, points, 2], row 0 at the least second
    coordinate."""
    axis = (torch.arange(points) + (0.0 if edges else 0.5)) * (2 * half_width / points) - half_width
    second, first = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([first, second], -1)
