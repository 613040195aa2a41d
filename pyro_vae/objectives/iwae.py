from __future__ import annotations

import math

from pyro_vae._errors import PairError
from pyro_vae._shapes import PerDatum
from pyro_vae.objectives._objective import Objective
from pyro_vae.objectives._particles import Particles

__all__ = ["IWAE", "check_even", "log_mean_weight"]


class IWAE(Objective):
    """The importance-weighted bound (Burda et al., 2016, eq. 8; Yu, section 3.2):

    .. math:: \\log p(x) \\ge E\\Big[\\log \\tfrac1K \\sum_k p(x, z_k)/q(z_k|x)\\Big]

    per datum: each datum has its own K samples and its own logarithm. It rises with K towards
    log p(x). ``pyro.infer.RenyiELBO(alpha=0)`` is the same where no plate is subsampled; with
    subsampling it takes the scale N/B into the logarithm and is no bound any more.

    Args:
        num_particles: K.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.

    Raises:
        PairError: when called on a pair whose sites are scaled differently (a subsampled plate
            beside a global site): no scale outside the logarithm would make it a bound.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> loss = IWAE(num_particles=10).loss(pair.model, pair.guide, pair.x)
    """

    def bound(self, particles: Particles) -> PerDatum:
        return log_mean_weight(particles)


def log_mean_weight(particles: Particles) -> PerDatum:
    """log of the mean importance weight of each datum, [batch]."""
    check_even(particles)
    log_weight = particles.log_weight
    return log_weight.logsumexp(0) - math.log(log_weight.shape[0])


def check_even(particles: Particles) -> None:
    """``PairError`` unless every site is scaled alike."""
    if particles.uneven:
        raise PairError(
            "importance weights: expected every site scaled alike; got different scales (a "
            "subsampled plate beside a site outside it, or poutine.scale on some sites). Put all "
            "sites into the subsampled plate, do not subsample, or train by ELBO; evaluate without "
            "poutine.scale."
        )
