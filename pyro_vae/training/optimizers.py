from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

__all__ = ["MakeOptimizer", "adam"]

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
"""Makes an optimizer of parameters: a class of ``torch.optim``, or a ``functools.partial``."""


def adam(learning_rate: float = 1e-3, **options: Any) -> MakeOptimizer:
    """Adam (Kingma and Ba, 2015) with one fused update for all parameters.

    Args:
        learning_rate: the step size.
        options: what else ``torch.optim.Adam`` takes, e.g. ``amsgrad=True``.

    >>> adam(1e-4, amsgrad=True)([nn.Parameter(torch.zeros(1))]).defaults["lr"]
    0.0001
    """
    return lambda parameters: torch.optim.Adam(
        parameters, lr=learning_rate, **{"fused": True, **options}
    )
