from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["jacobian"]


def jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """∂f_i/∂x_j by automatic differentiation, [..., m, n] for f from [..., n] to [..., m].

    One backward pass for each of the m outputs, all rows at once: f must take each row by itself.
    It has a gradient of its own where gradients are on.

    >>> with torch.no_grad():
    ...     jacobian(lambda x: x**2, torch.tensor([[1.0, 2.0]]))
    tensor([[[2., 0.],
             [0., 4.]]])
    """
    differentiated = torch.is_grad_enabled()
    with torch.enable_grad():
        # A tensor of its own: a transform returns what it remembers for one it has seen.
        at = at.view_as(at) if at.requires_grad else at.detach().requires_grad_()
        outputs = function(at).unbind(-1)
        rows = [torch.autograd.grad(y.sum(), at, create_graph=True)[0] for y in outputs]
    found = torch.stack(rows, -2)
    return found if differentiated else found.detach()
