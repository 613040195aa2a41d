from __future__ import annotations

from abc import abstractmethod

import pyro
from torch import nn
from torch.distributions import Distribution

from pyro_vae._errors import ShapeError
from pyro_vae._module import Program, feature_count
from pyro_vae._shapes import Data, Latents

__all__ = ["Guide"]


class Guide(Program):
    """The program that samples ``"z"`` from q(z|x). A guide implements ``posterior(x)``.

    An exotic one overrides the program ``forward(x)``; see ``docs/guide/extend.md``.

    Args:
        encoder: a network from data [batch, *event] to parameters of the posterior.
    """

    latent_dim: int | None = None
    """The dimension of z where the encoder says it (``out_features``)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self._in_features = feature_count(encoder, "in_features")

    @abstractmethod
    def posterior(self, x: Data) -> Distribution:
        """The distribution q(z|x), batch shape ``(batch,)``, event shape ``(latent_dim,)``."""

    def forward(self, x: Data) -> Latents:
        """The program: one latent vector a datum, [..., batch, latent]."""
        if self._in_features not in (None, x.shape[-1]):
            raise ShapeError(
                f"guide: expected data with {self._in_features} features, what the encoder takes; "
                f"got data of shape {list(x.shape)}. Reshape the data or change the encoder."
            )
        with pyro.plate("data", x.shape[0], dim=-1):
            return pyro.sample("z", self.posterior(x))
