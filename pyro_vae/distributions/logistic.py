from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid

from pyro_vae.distributions._uniform import inner_uniform

__all__ = ["Logistic", "logistic_scale"]


def logistic_scale(deviation: Tensor) -> Tensor:
    """s = √3 σ/π, the scale of a logistic distribution with standard deviation σ.

    >>> logistic_scale(torch.tensor(torch.pi))
    tensor(1.7321)
    """
    return deviation * (math.sqrt(3) / math.pi)


class Logistic(TorchDistribution):
    """The logistic distribution, whose distribution function is a sigmoid:

    .. math:: F(x) = σ(y), \\quad \\log p(x) = \\log σ(y) + \\log σ(-y) - \\log s,
       \\quad y = (x - μ)/s

    in nats, exact in the tails. Its standard deviation is πs/√3.

    Args:
        loc: μ.
        scale: s > 0.

    >>> Logistic(torch.tensor(0.0), torch.tensor(1.0)).log_prob(torch.tensor(0.0))  # −log 4
    tensor(-1.3863)
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Logistic:
        new = self._get_checked_instance(Logistic, _instance)
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        super(Logistic, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """μ."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """π²s²/3."""
        return self.scale.square() * (torch.pi**2 / 3)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.icdf(inner_uniform(shape, self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        y = self._standardised(value)
        return logsigmoid(y) + logsigmoid(-y) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        return self._standardised(value).sigmoid()

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc + self.scale * (value.log() - (-value).log1p())

    def entropy(self) -> Tensor:
        """log s + 2, in nats."""
        return self.scale.log() + 2

    def _standardised(self, value: Tensor) -> Tensor:
        return (value - self.loc) / self.scale
