from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions import Distribution

from pyro_vae._errors import PairError
from pyro_vae.distributions.jacobian import jacobian

__all__ = ["Substitution"]

Function = Callable[[Tensor], Tensor]


class Substitution(TorchDistribution):
    """The distribution of z = g(ε) for noise ε, by the change of variables:

    .. math:: \\log q(z) = \\log p(ε) - \\log |\\det ∂g/∂ε|

    in nats. The Jacobian is that of automatic differentiation, one backward pass a dimension.

    Args:
        noise: p(ε), event shape ``(n,)``.
        function: g, [..., n] to [..., n], each row by itself.
        inverse: g⁻¹, by which a given z is scored; without it the last sample only.

    Raises:
        PairError: ``log_prob`` of a z that is not the last sample, without an inverse.

    >>> import pyro.distributions as dist
    >>> noise = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    >>> q = Substitution(noise, lambda noise: noise.exp())  # a log-normal
    >>> z = q.sample()
    >>> torch.allclose(q.log_prob(z), dist.LogNormal(0.0, 1.0).log_prob(z).sum(), atol=1e-5)
    True
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, noise: Distribution, function: Function, inverse: Function | None = None
    ) -> None:
        super().__init__(noise.batch_shape, noise.event_shape, validate_args=False)
        self.base_dist, self._function, self._inverse = noise, function, inverse
        self._last: tuple[Tensor, Tensor] | None = None

    def expand(self, batch_shape: Any, _instance: Any = None) -> Substitution:
        return Substitution(self.base_dist.expand(batch_shape), self._function, self._inverse)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = self.base_dist.rsample(torch.Size(sample_shape))
        z = self._function(noise)
        self._last = (z, noise)
        return z

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        noise = self._noise_of(value)
        return self.base_dist.log_prob(noise) - self.log_abs_det_jacobian(noise)

    def log_abs_det_jacobian(self, noise: Tensor) -> Tensor:
        """log|det ∂g/∂ε| at ε, of ε's shape without its last dimension."""
        return torch.linalg.slogdet(jacobian(self._function, noise)).logabsdet

    def _noise_of(self, value: Tensor) -> Tensor:
        if self._last is not None and value is self._last[0]:
            return self._last[1]
        if self._inverse is None:
            raise PairError(
                "Substitution: expected the z that it drew last, since it has no inverse; got "
                "another. Give it the inverse of its function, or use an objective that scores "
                "its own samples only (ELBO, IWAE)."
            )
        return self._inverse(value)
