from __future__ import annotations

import math
from typing import Any

import torch

from pyro_vae._shapes import PerDatum, PerParticle
from pyro_vae.objectives._objective import Objective
from pyro_vae.objectives._particles import Particles
from pyro_vae.objectives.iwae import check_even

__all__ = ["Renyi"]


class Renyi(Objective):
    """The variational Rényi bound of order α (Li and Turner, 2016):

    .. math:: \\log p(x) \\ge E\\Big[\\frac{1}{1-α} \\log \\tfrac1K
       \\sum_k \\big(p(x, z_k)/q(z_k|x)\\big)^{1-α}\\Big], \\quad α \\ge 0

    per datum. It falls from :class:`IWAE` at α = 0 over :class:`ELBO`, its limit at α = 1. Below
    zero it would be no lower bound. ``pyro.infer.RenyiELBO`` is the same where no plate is
    subsampled; with subsampling it takes the scale N/B into the logarithm and is no bound any more.

    Args:
        num_particles: K.
        alpha: α.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.

    Raises:
        ValueError: an order that is negative or not finite.
        PairError: when called on a pair whose sites are scaled differently, as for IWAE.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> loss = Renyi(10, alpha=0.5).loss(pair.model, pair.guide, pair.x)
    """

    def __init__(
        self, num_particles: int = 1, alpha: float = 0.5, *, max_plate_nesting: int = 1
    ) -> None:
        super().__init__(num_particles, max_plate_nesting=max_plate_nesting)
        if not (math.isfinite(alpha) and alpha >= 0):
            raise ValueError(f"alpha: expected a finite number ≥ 0; got {alpha}.")
        self.alpha = alpha

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"alpha": self.alpha}

    def bound(self, particles: Particles) -> PerDatum:
        check_even(particles)
        return power_mean(particles.log_weight, 1 - self.alpha)


def power_mean(log_weight: PerParticle, power: float) -> PerDatum:
    """log of (mean over k of w_k^p)^(1/p), [batch]; of the geometric mean for p = 0."""
    mean = log_weight.mean(0)
    if power == 0:
        return mean
    log_mean = (power * log_weight).logsumexp(0) - math.log(len(log_weight))
    if abs(power) > 0.1:
        return log_mean / power
    # Near zero the logarithm is that of almost one: its digits are in expm1, where that is small.
    exponent = power * (log_weight - mean)
    small = exponent.abs().amax(0) < 1
    near = torch.log1p(torch.expm1(exponent.clamp(-1, 1)).mean(0))
    return torch.where(small, mean + near / power, log_mean / power)
