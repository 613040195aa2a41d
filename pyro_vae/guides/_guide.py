from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import pyro
from torch import nn
from torch.distributions import Distribution

from pyro_vae._errors import ShapeError
from pyro_vae._module import Program, feature_count
from pyro_vae._shapes import Data, Latents

__all__ = ["Capabilities", "Guide"]


@dataclass(frozen=True)
class Capabilities:
    """What can be asked of q(z|x); what cannot is refused with a ``PairError``."""

    scores_given: bool = True
    """log q(z|x) of a z that it did not draw itself: DReG, NUTS overlays, coding."""
    closed_form_kl: bool = False
    """KL(q(z|x) ‖ N(m, diag s²)) in closed form: ``ELBO(analytic_kl=True)``."""
    reparameterised: bool = True
    """Samples with a gradient; others train by the score function."""


class Guide(Program):
    """The program that samples ``"z"`` from q(z|x). A guide implements ``posterior(x)``.

    An exotic one overrides the program ``forward(x)``; see ``docs/guide/extend.md``.

    Args:
        encoder: a network from data [batch, *event] to parameters of the posterior; none for a
            guide that has its networks elsewhere.
    """

    latent_dim: int | None = None
    """The dimension of z where the encoder says it (``out_features``)."""
    capabilities = Capabilities()
    """What can be asked of the posterior."""

    _in_features: int | None = None

    def __init__(self, encoder: nn.Module | None = None) -> None:
        super().__init__()
        if encoder is not None:
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
