from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from pyro_vae._shapes import PerDatum, PerParticle
from pyro_vae.objectives._objective import Objective
from pyro_vae.objectives._particles import Particles
from pyro_vae.objectives.iwae import check_even

__all__ = ["MIWAE"]


class MIWAE(Objective):
    """An average of M importance-weighted bounds (Rainforth et al., 2018):

    .. math:: \\log p(x) \\ge E\\Big[\\tfrac1M \\sum_{m=1}^{M}
       \\log \\tfrac1K \\sum_{k=1}^{K} p(x, z_{mk})/q(z_{mk}|x)\\Big]

    per datum, M·K particles in M groups of K. One group is :class:`IWAE`, groups of one are
    :class:`ELBO`: with a budget of particles, larger groups make the bound tighter and more groups
    make the guide's gradient less noisy.

    Args:
        num_particles: M·K.
        num_groups: M.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.

    Raises:
        ValueError: particles that do not divide into the groups.
        PairError: when called on a pair whose sites are scaled differently, as for IWAE.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> loss = MIWAE(64, num_groups=8).loss(pair.model, pair.guide, pair.x)
    """

    def __init__(self, num_particles: int, num_groups: int, *, max_plate_nesting: int = 1) -> None:
        super().__init__(num_particles, max_plate_nesting=max_plate_nesting)
        if num_groups < 1 or num_particles % num_groups:
            raise ValueError(
                f"num_groups: expected a divisor of num_particles = {num_particles}; got "
                f"{num_groups}."
            )
        self.num_groups = num_groups

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"num_groups": self.num_groups}

    def bound(self, particles: Particles) -> PerDatum:
        check_even(particles)
        return self._of_groups(particles).mean(0)

    def credit(self, particles: Particles, bound: PerDatum) -> PerParticle:
        of_groups = self._of_groups(particles) / self.num_groups
        return of_groups.repeat_interleave(self.num_particles // self.num_groups, dim=0)

    def _of_groups(self, particles: Particles) -> Tensor:
        """log of the mean importance weight of each group, [groups, batch]."""
        log_weight = particles.log_weight.unflatten(0, (self.num_groups, -1))
        return log_weight.logsumexp(1) - math.log(log_weight.shape[1])
