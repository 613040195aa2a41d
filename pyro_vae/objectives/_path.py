"""Gradients of the guide along its samples, without the score function of log q."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch.distributions import Distribution, Uniform

from pyro_vae._errors import PairError
from pyro_vae._shapes import PerDatum, PerParticle
from pyro_vae.objectives._objective import Objective
from pyro_vae.objectives._particles import Particles

__all__ = ["PathObjective"]


class PathObjective(Objective):
    """A bound whose gradient weighs the particles, one way for the model and one for the guide:

    .. math:: ∇_θ = \\sum_k a_k ∇_θ \\log p(x, z_k), \\quad
       ∇_φ = \\sum_k b_k \\frac{∂ \\log w_k}{∂z_k} \\frac{dz_k}{dφ}

    φ in log q(z|x) itself held fixed. An objective implements ``bound`` and ``weights``.
    """

    leaves = True

    @abstractmethod
    def weights(self, particles: Particles) -> tuple[PerParticle, PerParticle]:
        """a and b, [particles, batch], constants."""

    def surrogate(self, particles: Particles, bound: PerDatum) -> PerDatum:
        if particles.score is not None:
            raise PairError(
                f"{type(self).__name__}: expected a reparameterised sample at every latent site; "
                f"got none at {_without_rsample(particles)}. Use ELBO or IWAE."
            )
        if moving := _with_moving_support(particles):
            raise PairError(
                f"{type(self).__name__}: expected posteriors whose support does not move with the "
                f"guide's parameters; got an interval at {moving}, whose ends the score function "
                "left out here would have to follow. Use ELBO or IWAE."
            )
        of_model, of_guide = self.weights(particles)
        along = particles.along_samples((of_guide * particles.log_weight).sum())
        # The second is one number for the batch: only the sum over the batch is differentiated.
        return (of_model * particles.log_joint).sum(0) + along / bound.numel()


def _without_rsample(particles: Particles) -> list[str]:
    return [site.name for site in particles.latents if not site.q.has_rsample]


def _with_moving_support(particles: Particles) -> list[str]:
    """Sites of uniform noise: E[∇ log q] is not zero where the ends of an interval move."""
    return [site.name for site in particles.latents if isinstance(_innermost(site.q), Uniform)]


def _innermost(q: Any) -> Distribution:
    while hasattr(q, "base_dist"):
        q = q.base_dist
    return q
