from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from pyro_vae.distributions.logistic import Logistic

__all__ = ["DiscretisedLogistic"]

_AT_ONCE = 2**20  # elements of the tensors that moments are summed in


class DiscretisedLogistic(TorchDistribution):
    """A logistic variable rounded to one of evenly spaced values, the ends taking the tails:

    .. math:: \\log P(x) = \\log[σ(b) - σ(a)] = \\log σ(b) + \\log σ(-a) + \\log(1 - e^{a-b})

    in nats, a and b the standardised edges of the bin: exact in both tails, where the difference of
    the sigmoids itself is zero. Source: Kingma et al. (2016), appendix.

    The bins are centred: that of a byte over 255, x = i/255, is from x − 1/510 to x + 1/510. In Yu,
    eq. 34, it is [x, x + 1/256).

    Args:
        loc, scale: of the logistic density, before rounding: not the mean and deviation of x.
        bins: how many values.
        low, high: the least and the greatest.

    Raises:
        ValueError: where validation is on, ``log_prob`` of what is none of the values: more than
            1/200 of a step, and than its dtype's rounding, from the nearest.

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
        """The values."""
        return _EvenlySpaced(self.bins, self.low, self.high)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretisedLogistic:
        density = self._density.expand(batch_shape)
        return DiscretisedLogistic(
            density.loc, density.scale, self.bins, self.low, self.high, self._validate_args
        )

    @property
    def mean(self) -> Tensor:
        """Σ_x x P(x), by summation over the bins."""
        first, _ = self._moments()
        return self.low + self._step * (self._nearest() + first)

    @property
    def variance(self) -> Tensor:
        """Σ_x (x − mean)² P(x), by summation over the bins."""
        first, second = self._moments()
        return self._step**2 * (second - first.square())

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

    def _nearest(self) -> Tensor:
        """r, the number of the value nearest to the location."""
        index = ((self._density.loc - self.low) / self._step).round()
        return index.clamp(0, self.bins - 1).detach()

    def _moments(self) -> tuple[Tensor, Tensor]:
        """E[i − r] and E[(i − r)²] of the number i of a value.

        Σ_k ±P(i beyond k, seen from r), and the same with weights |2(k − r) − 1|, over the edges
        k = 1, …, bins − 1. Taken from r, a small variance loses no digits. Some edges at a time,
        and again for the gradient, the memory is bounded.
        """
        nearest = self._nearest()
        first = second = torch.zeros_like(nearest)
        edges = torch.arange(1, self.bins).to(nearest)
        for some in edges.split(max(1, _AT_ONCE // max(1, nearest.numel()))):
            one, two = checkpoint(
                self._beyond, some, nearest, use_reentrant=False, preserve_rng_state=False
            )
            first, second = first + one, second + two
        return first, second

    def _beyond(self, edges: Tensor, nearest: Tensor) -> tuple[Tensor, Tensor]:
        """What edges add to the moments; edge k is that between the values k − 1 and k."""
        edges = edges.reshape(-1, *[1] * nearest.dim())
        side = 2 * (nearest < edges).to(nearest) - 1
        place = self.low + (edges - 0.5) * self._step
        tail = side * (side * (self._density.loc - place) / self._density.scale).sigmoid()
        return tail.sum(0), (tail * (2 * (edges - nearest) - 1)).sum(0)


class _EvenlySpaced(constraints.Constraint):
    """Numbers from ``low`` to ``high`` at ``bins`` places."""

    is_discrete = True

    def __init__(self, bins: int, low: float, high: float) -> None:
        self.bins, self.low, self.high = bins, low, high
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        step = (self.high - self.low) / (self.bins - 1)
        index = (value - self.low) / step
        rounding = torch.finfo(index.dtype).eps * max(abs(self.low), abs(self.high)) / step
        is_near = (index - index.round()).abs() <= max(0.005, 2 * rounding)
        return is_near & (index > -0.5) & (index < self.bins - 0.5)

    def __repr__(self) -> str:
        return f"{self.bins} evenly spaced values from {self.low:g} to {self.high:g}"
