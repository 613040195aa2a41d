from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae._errors import ShapeError
from pyro_vae.priors._prior import Prior

__all__ = ["FixedPrior"]


class FixedPrior(Prior):
    """p(z) as given: any family, with constant parameters.

    For latents on a support of their own, beside the guide that samples on it: a Gamma prior with a
    :class:`~pyro_vae.guides.GammaGuide`.

    Args:
        family: a distribution class; factors over single latents become one vector.
        parameters: its parameters by name, each ``[latent]`` or a shape that broadcasts with it.

    Raises:
        ShapeError: a distribution that is not one over vectors.

    >>> import pyro.distributions as dist
    >>> FixedPrior(dist.Gamma, concentration=torch.ones(2), rate=1.0)()
    Independent(Gamma(concentration: torch.Size([2]), rate: torch.Size([2])), 1)
    """

    def __init__(self, family: Callable[..., Distribution], **parameters: Tensor | float) -> None:
        tensors = {name: _floating(value) for name, value in parameters.items()}
        found = _vector(family(**tensors))
        if found.batch_shape or len(found.event_shape) != 1:
            raise ShapeError(
                "FixedPrior: expected one distribution over vectors [latent]; got batch shape "
                f"{list(found.batch_shape)}, event shape {list(found.event_shape)}. Give its "
                "parameters one dimension."
            )
        super().__init__(found.event_shape[0])
        self._family, self._names = family, tuple(tensors)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self) -> Distribution:
        return _vector(self._family(**{name: getattr(self, name) for name in self._names}))


def _floating(value: Tensor | float) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def _vector(distribution: Any) -> Distribution:
    return distribution.to_event(1) if distribution.batch_shape else distribution
