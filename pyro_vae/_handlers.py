"""Pyro effects of this library's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import effectful
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["LeafMessenger", "PosteriorMessenger", "posterior"]


def posterior(name: str, otherwise: Callable[[], Distribution]) -> Distribution:
    """The guide's distribution of latent site ``name``, as a model may ask for it.

    A prior that depends on the posteriors (:class:`~pyro_vae.priors.FloatingPrior`) needs q(z|x)
    inside the model. This library's objectives have it at hand, in the guide's trace, and answer;
    under any other inference ``otherwise`` computes it.
    """
    return _posterior(otherwise, name=name)


@effectful(type="posterior")
def _posterior(otherwise: Callable[[], Distribution]) -> Distribution:
    return otherwise()


class PosteriorMessenger(Messenger):
    """Answers :func:`posterior` from the trace of a guide."""

    def __init__(self, guide_trace: Trace) -> None:
        super().__init__()
        self.guide_trace = guide_trace

    def _pyro_posterior(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self.guide_trace:
            msg["value"] = self.guide_trace.nodes[msg["name"]]["fn"]
            msg["done"] = True


class LeafMessenger(Messenger):
    """Puts a leaf in the place of every reparameterised sample, and keeps what was drawn.

    What follows a sample then depends on its value alone, not on how it came about: a derivative
    with respect to the leaf holds the parameters of its distribution, and all other samples, fixed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.drawn: dict[str, Tensor] = {}

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if not msg["is_observed"] and msg["fn"].has_rsample:
            self.drawn[msg["name"]] = msg["value"]
            msg["value"] = msg["value"].detach().requires_grad_()
