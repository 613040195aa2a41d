from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import nn
from torch.distributions import Distribution

from pyro_vae._errors import ShapeError

__all__ = ["Prior"]


class Prior(nn.Module, ABC):
    """p(z). A prior implements ``forward()``; see ``docs/guide/extend.md``.

    Args:
        latent_dim: the dimension n of z.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if not isinstance(latent_dim, int) or latent_dim < 1:
            raise ShapeError(f"latent_dim: expected a whole number ≥ 1; got {latent_dim!r}.")
        self.latent_dim = latent_dim

    @abstractmethod
    def forward(self) -> Distribution:
        """The distribution p(z), batch shape ``()``, event shape ``(latent_dim,)``."""

    def during_inference(self, posterior: Callable[[], Distribution]) -> Distribution:
        """p(z) as the model uses it on a batch; ``posterior()`` gives the batch's q(z|x).

        Only a prior that depends on the posteriors overrides it.
        """
        return self()
