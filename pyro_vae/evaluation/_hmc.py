"""Hamiltonian Monte Carlo along a path of densities, all chains of all data side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pyro_vae.evaluation._unconstrained import Density, Point

__all__ = ["Kernel", "Noise", "Walk", "anneal", "derived_seed", "noise", "tuned_step_sizes"]

_TARGET = 0.65  # acceptance (Wu et al., 2017)
_GAIN = 3.0  # of a step size's adaptation, over √transitions
_JITTER = 0.2  # of a step size, so that no length of trajectory is always a bad one
_BLOCK = 32  # transitions whose noise is drawn at once


def derived_seed(*path: int) -> int:
    """A seed for one of several streams of random numbers."""
    mixed = np.random.SeedSequence([number % 2**64 for number in path])
    return int(mixed.generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Noise:
    """Random numbers of a transition: momenta, shaped as u; the others uniform, [chains, data]."""

    momentum: Tensor
    length: Tensor
    acceptance: Tensor


def noise(seed: int, data: range, u: Tensor) -> Iterator[Noise]:
    """The noise of transition after transition, for a batch of data at u.

    Each datum has a generator of its own: its noise is the same in whatever batch it comes.
    """
    chains, _, size = u.shape
    own = [torch.Generator(u.device).manual_seed(derived_seed(seed, datum)) for datum in data]
    while True:
        normal = [u.new_empty(_BLOCK, chains, size).normal_(generator=g) for g in own]
        uniform = [u.new_empty(_BLOCK, 2, chains).uniform_(generator=g) for g in own]
        momenta, uniforms = torch.stack(normal, 2), torch.stack(uniform, 3)
        for momentum, (length, acceptance) in zip(momenta, uniforms, strict=True):
            yield Noise(momentum, length, acceptance)


@dataclass(frozen=True)
class Kernel:
    """A transition that leaves q^(1−β) p^β as it is, and is its own reverse (Neal, 2011).

    A trajectory that meets a NaN or an infinity is rejected, as is one that diverges: its momentum
    stays NaN or infinite, while the programs are given nothing that is.

    Args:
        density: q and p.
        scale: of each coordinate, [data, size], which step sizes are relative to.
        leapfrog_steps: in a trajectory.
    """

    density: Density
    scale: Tensor
    leapfrog_steps: int

    def __call__(
        self, start: Point, beta: float, step_size: Tensor, noise: Noise
    ) -> tuple[Point, Tensor]:
        """The next point, and the probability that it is the trajectory's end, [chains, data].

        Args:
            start: where from.
            beta: β, between 0 and 1.
            step_size: ε of each datum, [data].
            noise: of this transition.
        """
        jittered = step_size * (1 + _JITTER * (2 * noise.length - 1))
        step = jittered[..., None] * self.scale
        end, momentum = start, noise.momentum
        for _ in range(self.leapfrog_steps):
            momentum = momentum + 0.5 * step * end.gradient(beta)
            u = end.u + step * momentum
            end = self.density(torch.where(u.isfinite(), u, start.u))
            momentum = momentum + 0.5 * step * end.gradient(beta)
        gain = _log_joint(end, momentum, beta) - _log_joint(start, noise.momentum, beta)
        accepted = torch.where(gain.isfinite(), gain.clamp(max=0).exp(), 0.0)
        return start.or_else(noise.acceptance < accepted, end), accepted


def _log_joint(point: Point, momentum: Tensor, beta: float) -> Tensor:
    """log of position's and momentum's density, [chains, data]."""
    return point.log_density(beta) - 0.5 * momentum.square().sum(-1)


@dataclass(frozen=True)
class Walk:
    """Where chains start, the β they pass, β_0 to β_T, and the noise of their transitions."""

    start: Point
    betas: Sequence[float]
    noise: Iterator[Noise]


def tuned_step_sizes(kernel: Kernel, pilot: Walk, bar: tqdm) -> Tensor:
    """A step size for each transition and datum, [T − 1, data]: those of chains that adapt

    .. math:: \\log ε \\leftarrow \\log ε + γ (\\text{acceptance} - 0.65)

    after each transition, over the chains that are where densities are not zero. A chain that
    adapts has no unbiased weight: take the step sizes for others, whose noise had no part in them.
    """
    between = pilot.betas[1:-1]
    data, size = kernel.scale.shape
    step_size = kernel.scale.new_full((data,), size**-0.25)
    point, found = pilot.start, kernel.scale.new_empty((len(between), data))
    for t, beta in enumerate(between):
        found[t] = step_size
        alive = point.log_density(beta).isfinite()
        point, accepted = kernel(point, beta, step_size, next(pilot.noise))
        excess = ((accepted - _TARGET) * alive).sum(0) / alive.sum(0).clamp(min=1)
        step_size = step_size * (_GAIN / len(between) ** 0.5 * excess).exp()
        bar.update()
    return found


def anneal(kernel: Kernel, walk: Walk, step_sizes: Tensor, bar: tqdm) -> tuple[Tensor, Tensor]:
    """The log-weight of each chain, [chains, data], and the transitions' acceptance, as ε:

    .. math:: \\log w = \\sum_{t=0}^{T-1} (β_{t+1} - β_t) \\log \\frac{p(x, z_t)}{q(z_t|x)}

    with z_{t+1} from z_t by a transition at β_{t+1} (Neal, 2001). From β = 0 to 1, with
    z_0 ~ q, w is an unbiased estimate of p(x); from 1 to 0, with z_0 from the exact posterior, of
    1/p(x).
    """
    point, acceptance = walk.start, torch.zeros_like(step_sizes)
    log_weight = torch.zeros_like(point.log_weight, dtype=torch.float64)
    for t, (before, after) in enumerate(pairwise(walk.betas)):
        log_weight += (after - before) * point.log_weight
        if t < len(step_sizes):
            point, accepted = kernel(point, after, step_sizes[t], next(walk.noise))
            acceptance[t] = accepted.mean(0)
            bar.update()
    return log_weight, acceptance
