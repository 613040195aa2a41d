from __future__ import annotations

from torch import Tensor

from pyro_vae._shapes import PerDatum
from pyro_vae.distributions import normal_moments, optimal_prior_variance
from pyro_vae.objectives._objective import Objective
from pyro_vae.objectives._particles import LatentSite, Particles
from pyro_vae.objectives.elbo import ELBO
from pyro_vae.objectives.floating import check_floating

__all__ = ["BILBO"]


class BILBO(Objective):
    """The Batch Information Lower Bound (Fyffe, eq. 24):

    .. math:: -\\tfrac12 \\log|I + Σ^{-1}M_B| + E_B[E_{q(z|x)}[\\log p(x|z)]],
              \\quad M_B = E_B[μ^2]

    for any pair whose guide's latents are diagonal normals: the model's own p(z) is not read. It
    is :class:`FloatingPriorELBO` with the KL's mean over the batch simplified; posteriors whose
    variance is not constant enter by the same substitution of eq. 4 into eq. 2,
    −½ Σ_j (log S²_j − E_B log Σ_j), which is eq. 24 where Σ is constant. The first term belongs to
    the batch, and every datum gets it whole. An average over a batch flatters it by about n/(2B)
    nats; :meth:`for_evaluation` is the ordinary ELBO, under the prior the model then has.

    Args:
        num_particles: samples a datum.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.

    Raises:
        PairError: when called on a pair with other posteriors.
    """

    def bound(self, particles: Particles) -> PerDatum:
        check_floating(particles)
        information = sum(site.scale * _information(site) for site in particles.latents)
        return particles.reconstruction.mean(0) - information

    def for_evaluation(self) -> Objective:
        return ELBO(self.num_particles, analytic_kl=True, max_plate_nesting=self.max_plate_nesting)


def _information(site: LatentSite) -> Tensor:
    """½ (log|S²| − E_B log|Σ|): the mean KL of the batch at the optimal prior, in nats."""
    _, variance = normal_moments(site.q)
    log_variance = variance.log().flatten(0, -2).mean(0)
    return 0.5 * (optimal_prior_variance(site.q).log() - log_variance).sum()
