from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyro_vae.distributions.logistic import Logistic

__all__ = ["DiscretisedLogistic"]


class DiscretisedLogistic(TorchDistribution):
    """A logistic variable rounded to one of evenly spaced values, the ends taking the tails:

    .. math:: \\log P(x) = \\log[σ(b) - σ(a)] = \\log σ(b) + \\log σ(-a) + \\log(1 - e^{a-b})

    in nats, a and b the standardised edges of the bin: exact in both tails, where the difference of
    the sigmoids itself is zero. Sources: Kingma et al. (2016), appendix; Yu, eq. 34.

    Args:
        loc, scale: of the logistic density.
        bins: how many values.
        low, high: the least and the greatest.

    >>> p = DiscretisedLogistic(torch.tensor(0.3), torch.tensor(0.1), bins=5)
    >>> p.log_prob(torch.linspace(0, 1, 5)).exp().sum()
    tensor(1.)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        bins: int = 256,
        low: float = 0.0,
        high: float = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        self._density = Logistic(loc, scale, validate_args=validate_args)
        self.bins, self.low, self.high = bins, low, high
        super().__init__(self._density.batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """From ``low`` to ``high``."""
        return constraints.interval(self.low, self.high)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretisedLogistic:
        density = self._density.expand(batch_shape)
        return DiscretisedLogistic(
            density.loc, density.scale, self.bins, self.low, self.high, self._validate_args
        )

    @property
    def mean(self) -> Tensor:
        """Σ_x x P(x), by summation over the values."""
        values, mass = self._mass()
        return (values * mass).sum(0)

    @property
    def variance(self) -> Tensor:
        """Σ_x x² P(x) − mean², by summation over the values."""
        values, mass = self._mass()
        return (values.square() * mass).sum(0) - self.mean.square()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            x = self._density.rsample(sample_shape)
            index = ((x - self.low) / self._step).round().clamp(0, self.bins - 1)
            return self.low + index * self._step

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        centre = (value - self._density.loc) / self._density.scale
        half = self._step / (2 * self._density.scale)
        upper, lower = logsigmoid(centre + half), logsigmoid(half - centre)
        # An end of the range has no edge on its other side.
        first, last = value <= self.low + self._step / 2, value >= self.high - self._step / 2
        inner = upper + lower + (-(-2 * half).expm1()).log()
        return torch.where(first, upper, torch.where(last, lower, inner))

    @property
    def _step(self) -> float:
        return (self.high - self.low) / (self.bins - 1)

    def _mass(self) -> tuple[Tensor, Tensor]:
        """Each value and its probability, [bins, *batch]."""
        values = torch.linspace(self.low, self.high, self.bins).to(self._density.loc)
        values = values.reshape(-1, *[1] * len(self.batch_shape))
        return values, self.log_prob(values.expand(-1, *self.batch_shape)).exp()
