from __future__ import annotations

import torch

from pyro_vae._shapes import PerDatum, PerParticle
from pyro_vae.objectives._particles import Particles
from pyro_vae.objectives._path import PathObjective

__all__ = ["StickingTheLanding"]


class StickingTheLanding(PathObjective):
    """The evidence lower bound with the path gradient (Roeder et al., 2017):

    .. math:: ∇_φ = \\tfrac1K \\sum_k \\frac{∂}{∂z_k}\\big[\\log p(x, z_k) - \\log q(z_k|x)\\big]
       \\frac{dz_k}{dφ}

    for the guide: :class:`ELBO`'s gradient less the score function ∇_φ log q, whose expectation is
    zero. Unbiased, and without noise where the guide is exact. The same for K > 1 inside a
    logarithm would be biased: :class:`DReG` is what stands there.

    Not for discrete latents, nor for guides that cannot score a given z, nor for uniform noise: the
    score function's mean is zero only where the support stays.

    Args:
        num_particles: K, samples a datum, averaged.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.

    Raises:
        PairError: when called on a pair with a latent site without a reparameterised sample, of
            uniform noise, or that cannot score a given z.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()  # its guide is exact
    >>> loss = StickingTheLanding().differentiable_loss(pair.model, pair.guide, pair.x)
    >>> loss.backward()
    >>> pair.guide.encoder.weight.grad.abs().max() < 1e-3
    tensor(True)
    """

    def bound(self, particles: Particles) -> PerDatum:
        return particles.log_weight.mean(0)

    def weights(self, particles: Particles) -> tuple[PerParticle, PerParticle]:
        equal = torch.full_like(particles.log_weight, 1 / self.num_particles)
        return equal, equal
