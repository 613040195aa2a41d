from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from pyro_vae._errors import PairError
from pyro_vae._shapes import PerDatum, PerParticle
from pyro_vae.objectives._objective import Objective
from pyro_vae.objectives._particles import LatentSite, Particles

__all__ = ["ELBO"]


class ELBO(Objective):
    """The evidence lower bound (Kingma and Welling, 2014; Fyffe, eq. 1; Yu, eq. 12):

    .. math:: \\log p(x) \\ge E_{q(z|x)}[\\log p(x|z)] - KL(q(z|x)\\,\\|\\,p(z))

    an average over particles. ``beta`` and ``free_bits`` change the gradient only — that of
    E[log p(x|z)] − β · Σ_j max(λ, KL_j) — the value stays the bound. Against :class:`IWAE` the
    average over particles stands outside the logarithm: more particles, less noise, same bound.

    Args:
        num_particles: samples a datum.
        analytic_kl: take the KL in closed form where a sample would do. Latent sites must come in
            the same order in model and guide.
        beta: the weight β of the KL in the gradient (Higgins et al., 2017); may be changed between
            steps, to anneal.
        free_bits: λ, in **nats** a latent dimension (a bit is log 2): the gradient of a
            dimension's KL, averaged over the batch, is dropped where that average is below λ
            (Kingma et al., 2016, eq. 15).
        free_each_datum: compare each datum's own KL with λ in place of the batch's average, as the
            notebook of Yu, section 6, does (its λ is 0.05 bits).
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.

    Raises:
        PairError: when called with ``analytic_kl`` on distributions with no closed form, or on
            sites in another order.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> loss = ELBO(1000, analytic_kl=True).loss(pair.model, pair.guide, pair.x)
    >>> abs(loss + pair.log_evidence(pair.x).sum().item()) < 0.02 * loss  # an exact guide
    True
    """

    annealed = ("beta",)

    def __init__(
        self,
        num_particles: int = 1,
        *,
        analytic_kl: bool = False,
        beta: float | Tensor = 1.0,
        free_bits: float = 0.0,
        free_each_datum: bool = False,
        max_plate_nesting: int = 1,
    ) -> None:
        super().__init__(num_particles, max_plate_nesting=max_plate_nesting)
        if free_bits < 0 or beta < 0:
            raise ValueError(f"beta, free_bits: expected ≥ 0; got {beta}, {free_bits}.")
        self.analytic_kl, self.beta = analytic_kl, beta
        self.free_bits, self.free_each_datum = free_bits, free_each_datum

    def settings(self) -> dict[str, Any]:
        own = {"analytic_kl": self.analytic_kl, "beta": self.beta, "free_bits": self.free_bits}
        if self.free_bits:
            own |= {"free_each_datum": self.free_each_datum}
        return super().settings() | own

    def bound(self, particles: Particles) -> PerDatum:
        return self._per_particle(particles).mean(0)

    def surrogate(self, particles: Particles, bound: PerDatum) -> PerDatum:
        # `beta` may be a tensor on a device: compared only where it is a plain number.
        if self.free_bits == 0 and isinstance(self.beta, int | float) and self.beta == 1:
            return super().surrogate(particles, bound)
        return super().surrogate(particles, self._weighted(particles).mean(0))

    def credit(self, particles: Particles, bound: PerDatum) -> PerParticle:
        return self._weighted(particles) / self.num_particles

    def kl(self, particles: Particles) -> PerParticle:
        """KL(q(z|x) ‖ p(z)), in closed form or as sampled, [particles, batch]."""
        if not self.analytic_kl:
            return -particles.log_ratio
        _check_order(particles)
        return sum(site.scale * site.per_datum(_analytic(site)) for site in particles.latents)

    def _per_particle(self, particles: Particles) -> PerParticle:
        return particles.reconstruction - self.kl(particles)

    def _weighted(self, particles: Particles) -> PerParticle:
        """What is differentiated, before the average over particles."""
        return particles.reconstruction - self.beta * self._regulariser(particles)

    def _regulariser(self, particles: Particles) -> PerParticle:
        """The KL that is differentiated: :meth:`kl`, or Σ_j max(λ, KL_j) with free bits."""
        if self.free_bits == 0:
            return self.kl(particles)
        return sum(site.scale * self._freed(site) for site in particles.latents)

    def _freed(self, site: LatentSite) -> PerParticle:
        per_dimension = _kl_per_dimension(site, self.analytic_kl)
        compared = per_dimension
        if not self.free_each_datum:
            compared = per_dimension.flatten(0, -2).mean(0)
        return site.per_datum((per_dimension * (compared > self.free_bits)).sum(-1))


def _check_order(particles: Particles) -> None:
    order = tuple(site.name for site in particles.latents if site.p is not None)
    if order != particles.model_order:
        raise PairError(
            f"analytic_kl: expected latent sites in the model's order {particles.model_order}; "
            f"got {order} in the guide, where the closed form would be wrong. Use "
            "analytic_kl=False."
        )


def _analytic(site: LatentSite) -> Tensor:
    if site.p is None:
        raise PairError(
            f"analytic_kl: expected site {site.name!r} in the model; got an auxiliary site. Use "
            "analytic_kl=False."
        )
    return closed_form_kl(site.name, site.q, site.p)


def closed_form_kl(name: str, q: Distribution, p: Distribution) -> Tensor:
    """KL(q ‖ p) as registered with torch; ``PairError`` where it is not."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        raise PairError(
            f"analytic_kl: expected a closed form of KL(q ‖ p) at site {name!r}; got none for {q} "
            f"and {p}. Use analytic_kl=False."
        ) from None


def _kl_per_dimension(site: LatentSite, analytic: bool) -> Tensor:
    """The KL of each latent dimension, [..., latent]: q and p must factorise over them."""
    q, p = (_factors(site.name, d) for d in (site.q, site.p))
    if analytic:
        return closed_form_kl(site.name, q, p)
    return q.log_prob(site.value) - p.log_prob(site.value)


def _factors(name: str, distribution: Distribution | None) -> Distribution:
    """The base of ``Independent(base, 1)``."""
    if isinstance(distribution, Independent) and distribution.reinterpreted_batch_ndims == 1:
        return distribution.base_dist
    raise PairError(
        f"free_bits: expected factorised distributions .to_event(1) at site {name!r}; got "
        f"{distribution}. Use free_bits=0."
    )
