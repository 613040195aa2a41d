from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae._errors import PairError
from pyro_vae._shapes import Data, Latents

__all__ = ["Likelihood", "Posterior", "no_posterior"]


Posterior = Callable[[], Distribution]
"""Gives the q(z|x) of a batch."""


def no_posterior() -> Distribution:
    """Where there is no guide to ask."""
    raise PairError(
        "likelihood: expected the posteriors of the batch, which this one is estimated from; got "
        "none. Use it inside a VAE, or give during_inference a function that returns q(z|x)."
    )


class Likelihood(nn.Module, ABC):
    """p(x|z). A likelihood implements ``forward(z)``; see ``docs/guide/extend.md``.

    Args:
        decoder: a network from latents [..., latent] to parameters [..., *event].
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    @abstractmethod
    def forward(self, z: Latents) -> Distribution:
        """The distribution p(x|z), batch shape ``z.shape[:-1]``, event shape that of one datum."""

    def during_inference(
        self, z: Latents, x: Data, posterior: Posterior = no_posterior
    ) -> Distribution:
        """p(x|z) as the model uses it on a batch of data ``x``; ``posterior()`` gives q(z|x).

        Only a likelihood with a parameter that is estimated on the batch overrides it.
        """
        return self(z)


def event_dims(parameters: Tensor, z: Tensor) -> int:
    """How many of a decoder's output dimensions belong to one datum."""
    return parameters.dim() - (z.dim() - 1)
