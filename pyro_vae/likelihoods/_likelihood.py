from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae._errors import PairError, ShapeError, without_trace
from pyro_vae._modes import evaluation_mode
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
        decoder: a network from latents [..., latent] to parameters [..., *event]; what takes one
            batch dimension only, as convolutions do, in a :class:`~pyro_vae.nn.LeadingShape`.
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

    def _decoded(self, z: Tensor) -> Tensor:
        """What the decoder gives; a network of one batch dimension is told of its wrapper."""
        try:
            return self.decoder(z)
        except (RuntimeError, ValueError) as error:
            if not self._takes_one_dimension_only(z, error):
                raise
            raise ShapeError(
                "decoder: expected a network that takes latents of any leading shape, as samples "
                f"side by side have; got {list(z.shape)} and one that ended in: "
                f"{without_trace(error)}. Wrap it: pyro_vae.nn.LeadingShape(decoder, event_dim=1)."
            ) from error

    def _takes_one_dimension_only(self, z: Tensor, error: Exception) -> bool:
        if z.dim() < 3 or type(error) not in (RuntimeError, ValueError):
            return False
        try:
            with torch.no_grad(), evaluation_mode(self.decoder):
                self.decoder(z.flatten(0, -2))
        except (RuntimeError, ValueError):
            return False
        return True


def event_dims(parameters: Tensor, z: Tensor) -> int:
    """How many of a decoder's output dimensions belong to one datum."""
    return parameters.dim() - (z.dim() - 1)
