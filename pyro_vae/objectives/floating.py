from __future__ import annotations

from torch import Tensor
from torch.distributions import Normal, kl_divergence

from pyro_vae._errors import PairError
from pyro_vae._shapes import PerParticle
from pyro_vae.distributions import normal_moments, optimal_prior_variance
from pyro_vae.objectives._objective import Objective
from pyro_vae.objectives._particles import LatentSite, Particles
from pyro_vae.objectives.elbo import ELBO

__all__ = ["FloatingPriorELBO", "check_floating"]


class FloatingPriorELBO(ELBO):
    """The ELBO with the prior that is optimal for the batch (Fyffe, eq. 2 with eq. 4):

    .. math:: \\tfrac12(\\log|eS^{-2}Σ| - tr\\,S^{-2}Σ - |S^{-1}μ|^2) + E_q[\\log p(x|z)],
              \\quad S^2 = E_B[Σ + μμ^⊤]

    for any pair whose guide's latents are diagonal normals: the model's own p(z) is not read. On
    a VAE with a :class:`~pyro_vae.priors.FloatingPrior` in training mode, :class:`ELBO` is the
    same. Each datum's bound has the batch's S² in it, which flatters the mean over the data by
    about n/(2B) nats; :meth:`for_evaluation` is the ordinary ELBO, under the model's own prior.

    Against :class:`BILBO`: the mean over the batch and its gradient are equal, with
    ``analytic_kl`` to the digit — eq. 24 follows from eq. 2 by Σ_B tr S⁻²(Σ + μμᵀ) = n·B — but a
    datum's own value differs.

    Args:
        num_particles, analytic_kl, beta: as in :class:`ELBO`; the KL is in closed form by default.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.

    Raises:
        PairError: when called on a pair with other posteriors or with a mask on a latent site.
    """

    def __init__(
        self,
        num_particles: int = 1,
        *,
        analytic_kl: bool = True,
        beta: float | Tensor = 1.0,
        max_plate_nesting: int = 1,
    ) -> None:
        super().__init__(
            num_particles,
            analytic_kl=analytic_kl,
            beta=beta,
            max_plate_nesting=max_plate_nesting,
        )

    def kl(self, particles: Particles) -> PerParticle:
        check_floating(particles)
        return sum(site.scale * self._site_kl(site) for site in particles.latents)

    def for_evaluation(self) -> Objective:
        return ELBO(self.num_particles, analytic_kl=True, max_plate_nesting=self.max_plate_nesting)

    def _site_kl(self, site: LatentSite) -> PerParticle:
        mean, variance = normal_moments(site.q)
        prior = Normal(0.0 * mean, optimal_prior_variance(site.q).sqrt().expand_as(mean))
        if self.analytic_kl:
            return site.per_datum(kl_divergence(Normal(mean, variance.sqrt()), prior).sum(-1))
        return site.log_q - site.per_datum(prior.log_prob(site.value).sum(-1))


def check_floating(particles: Particles) -> None:
    """``PairError`` unless every latent is an ordinary vector of its datum."""
    for site in particles.latents:
        if site.p is None or site.masked or len(site.q.event_shape) != 1:
            raise PairError(
                f"site {site.name!r}: expected an unmasked latent vector "
                f"Normal(loc, scale).to_event(1) that the model samples too; got {site.q}. Use "
                "ELBO or IWAE."
            )
