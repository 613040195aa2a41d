from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import Data, PerDatum, check_some
from pyro_vae.objectives import ELBO
from pyro_vae.objectives._objective import Program

__all__ = ["BoundTerms", "bound_terms"]


@dataclass(frozen=True)
class BoundTerms:
    """The evidence lower bound of each datum and what it is made of, in nats, [data].

    ``bound = reconstruction - kl``, with E_q[log p(x|z)] and KL(q(z|x) ‖ p(z)) (Fyffe, eq. 1).
    """

    reconstruction: PerDatum
    kl: PerDatum

    @property
    def bound(self) -> PerDatum:
        """E_q[log p(x|z)] − KL, [data]."""
        return self.reconstruction - self.kl

    def mean(self) -> dict[str, float]:
        """The means over the data: ``bound``, ``reconstruction``, ``kl`` in nats a datum."""
        terms = {"bound": self.bound, "reconstruction": self.reconstruction, "kl": self.kl}
        return {name: value.double().mean().item() for name, value in terms.items()}


def bound_terms(
    model: Program,
    guide: Program,
    x: Data,
    *,
    num_samples: int = 1,
    analytic_kl: bool = True,
    max_plate_nesting: int = 1,
    batch_size: int = 1000,
    seed: int = 0,
) -> BoundTerms:
    """The ELBO of each datum and its two terms (Fyffe, eq. 1), in evaluation mode.

    Weights, modes and the global random state stay as they are. Scales (``poutine.scale``) are in
    the terms, as they are in the objective.

    Args:
        model, guide: the pair, modules or functions of x.
        x: data, [data, *event].
        num_samples: samples z ~ q(z|x) a datum; more make the estimate less noisy, not tighter.
        analytic_kl: take the KL in closed form; ``False`` for pairs that have none.
        max_plate_nesting: see :class:`~pyro_vae.objectives.Objective`.
        batch_size: data at a time.
        seed: of the samples.

    Raises:
        PairError: the KL has no closed form.
        ShapeError: no data.

    >>> from pyro_vae import testing
    >>> pair = testing.linear_gaussian()
    >>> terms = bound_terms(pair.model, pair.guide, pair.x, num_samples=100)
    >>> torch.allclose(terms.bound.mean(), pair.log_evidence(pair.x).mean(), atol=0.1)
    True
    """
    check_some(x)
    elbo = ELBO(num_samples, analytic_kl=analytic_kl, max_plate_nesting=max_plate_nesting)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in x.split(batch_size):
            particles = elbo.particles(model, guide, batch)
            yield particles.reconstruction.mean(0), elbo.kl(particles).mean(0)

    modules = modules_of(model, guide)
    with torch.no_grad(), evaluation_mode(*modules), forked_rng(seed, x.device):
        reconstruction, kl = (torch.cat(term) for term in zip(*batches(), strict=True))
    return BoundTerms(reconstruction, kl)
