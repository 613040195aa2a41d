from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_vae._errors import NonFiniteError
from pyro_vae._modes import forked_rng

__all__ = ["LogDeterminant", "stochastic_log_determinant"]

Steps = Float[Tensor, "steps"]


@dataclass(frozen=True)
class LogDeterminant:
    """An estimate of log|A|, in nats, and the way to it."""

    value: float
    """tr AΣ − log|eΣ| at the last Σ, from fresh probes: above log|A| but for its noise."""
    error: float
    """The standard error of ``value``."""
    gap: float
    """How far above log|A| the last Σ is, to second order: ½ tr[(AΣ − I)²], in nats, as the probes
    have it. Trust it while it is small: a direction that was not reached counts for about ½."""
    covariance: Float[Tensor, "size size"]
    """The Σ that was found; A⁻¹ at the optimum."""
    history: Steps
    """The stochastic objective at each step."""


def stochastic_log_determinant(
    product: Callable[[Tensor], Tensor],
    size: int,
    *,
    steps: int = 2000,
    num_probes: int = 16,
    learning_rate: float = 0.05,
    tolerance: float = 0.1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> LogDeterminant:
    """log|A| of a positive matrix from products Av alone (Fyffe, eq. 19 and 20):

    .. math:: \\min_Σ\\; tr\\,AΣ - \\log|eΣ| = \\log|A|, \\quad
       tr\\,AΣ = E_{v \\sim N(0, Σ)}[v^⊤Av]

    by gradient descent over Σ = LLᵀ with random probes v = Lε, which is what an ELBO's posterior
    variance does for log|S⁻² + JᵀJ|. Every Σ gives an upper bound in expectation. For a matrix that
    is at hand ``torch.linalg.slogdet`` is exact and faster; this needs only its products.

    The descent starts at the best Σ = sI, so that a multiple of A has the same descent. The probes'
    εᵀε, whose mean is known, is taken off vᵀAv = εᵀLᵀALε: no mean changes, and at the optimum,
    LᵀAL = I, there is no noise left. What noise there is shows how far the optimum is: its variance
    is four times ``gap``.

    Args:
        product: V ↦ VA for probes V, [probes, size]; A is symmetric and positive definite.
        size: of A.
        steps: of Adam, the rate falling to zero by a cosine.
        num_probes: v a step.
        learning_rate: at the start.
        tolerance: the largest ``gap``, in nats, that is not warned of.
        seed: of the probes.
        dtype: of the probes.

    Raises:
        ValueError: steps or probes fewer than one and two; a vᵀAv that is not positive, and so a
            matrix that is not positive definite.
        NonFiniteError: a vᵀAv that is NaN or infinite.

    Warns:
        UserWarning: a descent that has not arrived: a ``gap`` above ``tolerance``.

    >>> a = torch.diag(torch.tensor([0.5, 2.0, 8.0]))
    >>> found = stochastic_log_determinant(lambda v: v @ a, 3)
    >>> abs(found.value - math.log(8)) < 0.01
    True
    """
    if steps < 1 or num_probes < 2:
        raise ValueError(f"steps, num_probes: expected ≥ 1 and ≥ 2; got {steps} and {num_probes}.")
    factor = _Factor(size, dtype)
    with forked_rng(seed, torch.device("cpu")):
        factor.rescale(product, num_probes)
        history = _descend(factor, product, steps, num_probes, learning_rate)
        with torch.no_grad():
            last = torch.cat([factor.objective(product, num_probes) for _ in range(64)])
    gap = last.var().item() / 4
    if gap > tolerance:
        _warn(gap, steps)
    error = last.std().item() / math.sqrt(len(last))
    return LogDeterminant(last.mean().item(), error, gap, factor.covariance().detach(), history)


def _descend(
    factor: _Factor,
    product: Callable[[Tensor], Tensor],
    steps: int,
    num_probes: int,
    learning_rate: float,
) -> Steps:
    optimizer = torch.optim.Adam([factor.lower, factor.log_diagonal], learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    history = torch.empty(steps, dtype=factor.lower.dtype)
    for step in range(steps):
        objective = factor.objective(product, num_probes).mean()
        history[step] = objective.detach()
        optimizer.zero_grad()
        objective.backward()
        optimizer.step()
        schedule.step()
    return history


def _warn(gap: float, steps: int) -> None:
    warnings.warn(
        f"stochastic_log_determinant: expected a descent that arrives; got one that is some "
        f"{gap:.2g} nats or more above log|A| after {steps} steps. Take more steps, more probes, "
        "or variables in which A is nearer to a multiple of I; a singular A has no log|A|.",
        stacklevel=3,
    )


class _Factor:
    """Σ = LLᵀ, L = √s D(I + U): U strictly lower triangular, D diagonal and exponentiated."""

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        self.lower = torch.zeros(size, size, dtype=dtype, requires_grad=True)
        self.log_diagonal = torch.zeros(size, dtype=dtype, requires_grad=True)
        self.log_scale = torch.zeros((), dtype=dtype)

    def rescale(self, product: Callable[[Tensor], Tensor], num_probes: int) -> None:
        """To the best multiple of I, s = n / tr A, as these probes have it."""
        noise = self._noise(num_probes)
        self.log_scale = (noise.square().sum() / _quadratic(noise, product).sum()).log()

    def matrix(self) -> Tensor:
        unit = self.lower.tril(-1) + torch.eye(len(self.lower), dtype=self.lower.dtype)
        return (self.log_diagonal + self.log_scale / 2).exp().unsqueeze(1) * unit

    def covariance(self) -> Tensor:
        matrix = self.matrix()
        return matrix @ matrix.T

    def objective(self, product: Callable[[Tensor], Tensor], num_probes: int) -> Tensor:
        """vᵀAv − log|eΣ| of each probe, less |ε|² − n, whose mean is zero."""
        noise = self._noise(num_probes)
        log_determinant = 2 * self.log_diagonal.sum() + len(self.log_diagonal) * self.log_scale
        excess = _quadratic(noise @ self.matrix().T, product) - noise.square().sum(-1)
        return excess - log_determinant

    def _noise(self, num_probes: int) -> Tensor:
        return torch.randn(num_probes, len(self.log_diagonal), dtype=self.lower.dtype)


def _quadratic(v: Tensor, product: Callable[[Tensor], Tensor]) -> Tensor:
    """vᵀAv of each probe, which is finite and positive."""
    found = (v * product(v)).sum(-1)
    if not found.isfinite().all():
        raise NonFiniteError(
            "stochastic_log_determinant: expected finite vᵀAv; got NaN or an infinity. Check the "
            "product, or scale A."
        )
    if (found <= 0).any():
        raise ValueError(
            f"stochastic_log_determinant: expected a positive definite A; got {found.min():.3g} "
            "for a vᵀAv. "
            "Check the product's sign and symmetry; where A is positive but nearly singular, "
            "take dtype=torch.float64 or add a multiple of I."
        )
    return found
