from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

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
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> LogDeterminant:
    """log|A| of a positive matrix from products Av alone (Fyffe, eq. 19 and 20):

    .. math:: \\min_Σ\\; tr\\,AΣ - \\log|eΣ| = \\log|A|, \\quad
       tr\\,AΣ = E_{v \\sim N(0, Σ)}[v^⊤Av]

    by gradient descent over Σ = LLᵀ with random probes v = Lε, which is what an ELBO's posterior
    variance does for log|S⁻² + JᵀJ|. Every Σ gives an upper bound in expectation. For a matrix that
    is at hand ``torch.linalg.slogdet`` is exact and faster; this needs only its products.

    Args:
        product: V ↦ VA for probes V, [probes, size]; A is symmetric and positive definite.
        size: of A.
        steps: of Adam, the rate falling to zero by a cosine.
        num_probes: v a step.
        learning_rate: at the start.
        seed: of the probes.
        dtype: of the probes.

    Raises:
        ValueError: steps or probes fewer than one and two.

    >>> a = torch.diag(torch.tensor([0.5, 2.0, 8.0]))
    >>> found = stochastic_log_determinant(lambda v: v @ a, 3)
    >>> abs(found.value - math.log(8)) < 0.2
    True
    """
    if steps < 1 or num_probes < 2:
        raise ValueError(f"steps, num_probes: expected ≥ 1 and ≥ 2; got {steps} and {num_probes}.")
    factor = _Factor(size, dtype)
    optimizer = torch.optim.Adam([factor.lower, factor.log_diagonal], learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    history = torch.empty(steps, dtype=dtype)
    with forked_rng(seed, torch.device("cpu")):
        for step in range(steps):
            objective = factor.objective(product, num_probes).mean()
            history[step] = objective.detach()
            optimizer.zero_grad()
            objective.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            last = torch.cat([factor.objective(product, num_probes) for _ in range(64)])
    error = last.std().item() / math.sqrt(len(last))
    return LogDeterminant(last.mean().item(), error, factor.covariance().detach(), history)


class _Factor:
    """Σ = LLᵀ: L triangular, its diagonal exponentiated."""

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        self.lower = torch.zeros(size, size, dtype=dtype, requires_grad=True)
        self.log_diagonal = torch.zeros(size, dtype=dtype, requires_grad=True)

    def matrix(self) -> Tensor:
        return self.lower.tril(-1) + torch.diag_embed(self.log_diagonal.exp())

    def covariance(self) -> Tensor:
        matrix = self.matrix()
        return matrix @ matrix.T

    def objective(self, product: Callable[[Tensor], Tensor], num_probes: int) -> Tensor:
        """vᵀAv − log|eΣ| of each probe."""
        noise = torch.randn(num_probes, len(self.log_diagonal), dtype=self.lower.dtype)
        v = noise @ self.matrix().T
        constant = len(self.log_diagonal) + 2 * self.log_diagonal.sum()
        return (v * product(v)).sum(-1) - constant
