"""Pyro effects of this library's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import effectful
from torch.distributions import Distribution

__all__ = ["PosteriorMessenger", "posterior"]


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
