from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from pyro_vae._errors import ShapeError
from pyro_vae._module import feature_count
from pyro_vae.guides._guide import Guide

__all__ = ["NormalGuide"]


class NormalGuide(Guide):
    """q(z|x) = N(μ(x), diag σ²(x)): mean and variance both learned.

    The encoder's first half of outputs is μ, the softplus of the second half is the standard
    deviation σ, as Fyffe, section 7, has it. Source: Kingma and Welling (2014), section 3.

    Args:
        encoder: data [batch, *event] to [batch, 2·latent].

    Raises:
        ShapeError: for an odd number of encoder outputs.

    >>> import torch
    >>> NormalGuide(torch.nn.Linear(4, 2 * 3)).posterior(torch.zeros(5, 4)).event_shape
    torch.Size([3])
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        outputs = feature_count(encoder, "out_features")
        if outputs is not None:
            self.latent_dim = _half(outputs)

    def posterior(self, x: Tensor) -> Distribution:
        outputs = self.encoder(x)
        mean, raw_scale = outputs.split(_half(outputs.shape[-1]), dim=-1)
        return dist.Normal(mean, softplus(raw_scale)).to_event(1)


def _half(outputs: int) -> int:
    if outputs % 2:
        raise ShapeError(
            f"NormalGuide: expected an encoder with 2·latent outputs, a mean and a scale a latent "
            f"dimension; got {outputs} outputs. Give it an even number."
        )
    return outputs // 2
