from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vae._errors import ShapeError
from pyro_vae._module import feature_count
from pyro_vae.guides._guide import Guide

__all__ = ["FactorisedGuide"]


class FactorisedGuide(Guide):
    """q(z|x) = ∏_j q(z_j|x), every factor of one family with two parameters. A guide implements
    ``family``.

    Args:
        encoder: data [batch, *event] to [batch, 2·latent]: all first parameters, all second ones.

    Raises:
        ShapeError: an odd number of encoder outputs.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        outputs = feature_count(encoder, "out_features")
        if outputs is not None:
            self.latent_dim = self._latents(outputs)

    @abstractmethod
    def family(self, first: Tensor, second: Tensor, /) -> Any:
        """The distribution of single latents from what the encoder gives, each [batch, latent]."""

    def posterior(self, x: Tensor) -> Distribution:
        outputs = self.encoder(x)
        self._latents(outputs.shape[-1])
        return self.family(*outputs.chunk(2, dim=-1)).to_event(1)

    def _latents(self, outputs: int) -> int:
        if outputs % 2:
            raise ShapeError(
                f"{type(self).__name__}: expected an encoder with 2·latent outputs, two parameters "
                f"a latent dimension; got {outputs} outputs. Give it an even number."
            )
        return outputs // 2
