"""An objective in one file: Rényi's variational bound."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from pyro_vae import Objective, PairError
from pyro_vae.objectives import Particles


class RenyiBound(Objective):
    """The variational Rényi bound of order α in [0, 1) (Li and Turner, 2016, eq. 4 and 5):

    (1 / (1 − α)) · log (1/K) Σ_k (p(x, z_k) / q(z_k|x))^(1 − α)

    per datum. At α = 0 it is the importance-weighted bound; as α rises to 1 it falls to the ELBO.
    By Jensen's inequality its expectation is below log p(x) for every K and α in [0, 1).

    Args:
        num_particles: K.
        alpha: the order α.
        max_plate_nesting: how many dimensions the pair's own plates take.
    """

    def __init__(
        self, num_particles: int = 5, *, alpha: float = 0.5, max_plate_nesting: int = 1
    ) -> None:
        super().__init__(num_particles, max_plate_nesting=max_plate_nesting)
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha: expected 0 ≤ α < 1; got {alpha}.")
        self.alpha = alpha

    def settings(self) -> dict[str, Any]:
        """What a checkpoint compares: every argument that changes the numbers."""
        return super().settings() | {"alpha": self.alpha}

    def bound(self, particles: Particles) -> Tensor:
        """[batch], in nats, from ``particles.log_weight`` [particles, batch]."""
        if particles.uneven:
            raise PairError("RenyiBound: expected every site scaled alike; use ELBO here.")
        powered = (1 - self.alpha) * particles.log_weight
        return (powered.logsumexp(0) - math.log(len(powered))) / (1 - self.alpha)
