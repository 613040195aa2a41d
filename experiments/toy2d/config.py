"""What a run of the experiment is, and nothing it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.settings import changed
from experiments.toy2d.methods import METHODS
from pyro_vae.data.densities import DENSITIES

__all__ = ["Config", "default_config"]


@dataclass(frozen=True)
class Config:
    """Settings of one run: equal settings, equal run folder.

    The defaults are for a processor: networks of the paper's kind, narrower, with as many steps.
    ``default_config(original=True)`` has the paper's own.

    Args:
        data: the name that stands for all densities in the folder's name.
        densities, methods: by name.
        seeds: 0 … seeds − 1.
        steps: of the ELBO's methods; importance-weighted ones take half as many.
        batch_size, large_batch: points a step.
        large_share: large batches take the steps divided by it.
        growth, depth: of the dense blocks.
        learning_rate, half_rate: at the start; the latter for the shorter runs, of IWAE
            and large batches.
        beta2, amsgrad: of Adam. The paper's, amsgrad, keeps the largest second
            moment, and with it what the first gradients were; in narrow networks that is slow.
        free_bits: a dimension of each point, for the ELBO with normal posteriors.
        particles: of the importance-weighted bounds.
        unit: what encoders multiply points by.
        flow_batch, flow_rate: batch and learning rate of the flow prior.
        flow_couplings, flow_bins, flow_bound: of its splines; the bound is where they end, outside
            of 10⁻⁴ of N(0, I)'s mass, which no data can have.
        flow_unit, flow_noise: its decoder is x = z/unit, with a deviation.
        points, evidence_samples: fresh points for the evaluation, and latents a point for log p(x).
        bound_draws: of the bound that was trained on, averaged.
        flow_points, flow_samples: the same for the flow prior, whose guide all but knows z.
        grid, grid_samples: points a side of the figures, and latents a point.
        grid_edges: whether the grid's points are the lower edges of its cells, not their centres.
    """

    data: str = "densities"
    densities: tuple[str, ...] = tuple(DENSITIES)
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: int = 1
    steps: int = 60_000
    batch_size: int = 200
    large_batch: int = 2_000
    large_share: int = 2
    growth: int = 64
    depth: int = 6
    learning_rate: float = 2e-4
    half_rate: float = 4e-4
    beta2: float = 0.99
    amsgrad: bool = False
    free_bits: float = 0.05
    particles: int = 10
    unit: float = 3.5
    flow_batch: int = 500
    flow_rate: float = 2e-3
    flow_couplings: int = 6
    flow_bins: int = 16
    flow_bound: float = 4.0
    flow_unit: float = 7.0
    flow_noise: float = 3e-4
    points: int = 20_000
    evidence_samples: int = 1_000
    bound_draws: int = 50
    flow_points: int = 4_000
    flow_samples: int = 5_000
    grid: int = 256
    grid_samples: int = 100
    grid_edges: bool = False
    device: str = "cpu"

    @property
    def half_steps(self) -> int:
        """Those of the importance-weighted methods."""
        return self.steps // 2

    @property
    def large_steps(self) -> int:
        """Those of the large batches."""
        return self.steps // self.large_share


_ORIGINAL: dict[str, Any] = {
    "growth": 1024,
    "learning_rate": 1e-4,
    "half_rate": 1e-4,
    "large_batch": 40_000,
    "large_share": 1,
    "beta2": 0.999,
    "amsgrad": True,
    "grid": 1024,
    "grid_samples": 250,
    "grid_edges": True,
}
_QUICK: dict[str, Any] = {
    "steps": 1000,
    "growth": 16,
    "depth": 2,
    "points": 500,
    "evidence_samples": 100,
    "bound_draws": 5,
    "flow_points": 500,
    "flow_samples": 100,
    "grid": 64,
    "grid_samples": 20,
}


def default_config(*, quick: bool = False, original: bool = False, **given: Any) -> Config:
    """The settings; what is given (not ``None``) replaces them."""
    return changed(Config(), _ORIGINAL if original else {}, _QUICK if quick else {}, **given)
