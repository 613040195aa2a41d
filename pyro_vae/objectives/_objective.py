from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import pyro.infer
import torch
from torch import Tensor

from pyro_vae._errors import PairError
from pyro_vae._shapes import PerDatum, PerParticle
from pyro_vae.objectives._particles import Particles, run_particles

__all__ = ["Objective"]

Program = Callable[..., Any]


class Objective(pyro.infer.ELBO):
    """A lower bound on log p(x), per datum, for any Pyro model/guide pair.

    An objective implements ``bound(particles)``; one whose gradient is not that of its bound also
    ``surrogate(particles, bound)``; see ``docs/guide/extend.md``. It is a ``pyro.infer.ELBO``: it
    goes into ``pyro.infer.SVI`` and makes a loss module of a pair, ``objective(model, guide)``.
    All particles run in one vectorised pass. Losses are sums over the batch in nats, scaled as the
    pair's plates say; the value reported is always the bound, also where the gradient is another's.

    Args:
        num_particles: samples z ~ q(z|x) a datum.
        max_plate_nesting: how many dimensions the pair's own plates take (1 for a VAE); the
            particles' plate is placed left of them.

    Raises:
        ValueError: for fewer than one particle.
        PairError: when called on a pair that would be scored wrongly.
    """

    annealed: ClassVar[tuple[str, ...]] = ()
    """Numbers that may change from step to step, as attributes: compiled code takes them anew."""
    leaves: ClassVar[bool] = False
    """Whether its gradient is taken along the samples: see :meth:`Particles.along_samples`."""

    def __init__(self, num_particles: int = 1, *, max_plate_nesting: int = 1) -> None:
        if num_particles < 1:
            raise ValueError(f"num_particles: expected ≥ 1; got {num_particles}.")
        super().__init__(num_particles=num_particles, max_plate_nesting=max_plate_nesting)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings().items())
        return f"{type(self).__name__}({settings})"

    def settings(self) -> dict[str, Any]:
        """What the objective was made with: equal settings, equal objective."""
        return {"num_particles": self.num_particles}

    @abstractmethod
    def bound(self, particles: Particles) -> PerDatum:
        """The lower bound on log p(x) of each datum, [batch], in nats."""

    def surrogate(self, particles: Particles, bound: PerDatum) -> PerDatum:
        """What is differentiated: [batch]. By default the bound, and the score-function term.

        The term, Σ_k log q(z_k|x) · (credit of particle k), is there for guide sites without a
        reparameterised sample (Wingate and Weber, 2013).
        """
        if particles.score is None:
            return bound
        return bound + (particles.score * self.credit(particles, bound).detach()).sum(0)

    def credit(self, particles: Particles, bound: PerDatum) -> PerParticle:
        """The part of the bound that depends on each particle's sample, [particles, batch]."""
        return bound.expand(self.num_particles, -1)

    def for_evaluation(self) -> Objective:
        """The bound that judges a trained pair: this one, unless it holds for batches only."""
        return self

    def particles(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Particles:
        """Run the pair: see :func:`~pyro_vae.objectives.run_particles`."""
        return run_particles(
            model,
            guide,
            *args,
            num_particles=self.num_particles,
            max_plate_nesting=self.max_plate_nesting,
            leaves=self.leaves and torch.is_grad_enabled(),
            **kwargs,
        )

    def loss_of(self, particles: Particles) -> Tensor:
        """Minus the bound, summed over the batch and scaled; its gradient is the surrogate's."""
        bound = self.bound(particles)
        surrogate = self.surrogate(particles, bound) if torch.is_grad_enabled() else bound
        if surrogate is not bound:
            surrogate = surrogate + (bound - surrogate).detach()
        return -(particles.scale * surrogate.sum())

    @torch.no_grad()
    def per_datum(
        self, model: Program, guide: Program, x: Tensor, *, batch_size: int = 1000
    ) -> PerDatum:
        """The bound of each datum of ``x``, [data], in nats; ``batch_size`` data at a time."""
        batches = x.split(batch_size)
        return torch.cat([self.bound(self.particles(model, guide, batch)) for batch in batches])

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the bound, summed over the batch: a tensor to differentiate."""
        return self.loss_of(self.particles(model, guide, *args, **kwargs))

    @torch.no_grad()
    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Minus the bound, summed over the batch."""
        return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """The same, with its gradient added to the parameters' ``grad``: what ``SVI`` calls."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return loss.item()

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Any:
        raise PairError(
            f"{type(self).__name__}: expected a use through loss or differentiable_loss."
        )
