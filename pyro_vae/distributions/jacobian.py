from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pyro_vae._errors import ShapeError, without_trace

__all__ = ["Mode", "jacobian"]

Mode = Literal["forward", "reverse"]
"""Which way a derivative is taken: a pass for each input, or one for each output."""


def jacobian(function: Callable[[Tensor], Tensor], at: Tensor, *, mode: Mode = "reverse") -> Tensor:
    """∂f_i/∂x_j by automatic differentiation, [..., m, n] for f from [..., n] to [..., m].

    All rows at once: f must take each row by itself. It has a gradient of its own where gradients
    are on.

    Args:
        function: f.
        at: x.
        mode: ``"reverse"`` takes m backward passes, ``"forward"`` one pass of n directions side by
            side, [n, ..., n] → [n, ..., m]: the way to go where n is much smaller than m.

    Raises:
        ValueError: another mode.
        ShapeError: forward, an f that does not take the one more dimension.

    >>> with torch.no_grad():
    ...     jacobian(lambda x: x**2, torch.tensor([[1.0, 2.0]]))
    tensor([[[2., 0.],
             [0., 4.]]])
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode: expected 'forward' or 'reverse'; got {mode!r}. Take one of them.")
    return _forward(function, at) if mode == "forward" else _reverse(function, at)


def _reverse(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    differentiated = torch.is_grad_enabled()
    with torch.enable_grad():
        # A tensor of its own: a transform returns what it remembers for one it has seen.
        at = at.view_as(at) if at.requires_grad else at.detach().requires_grad_()
        outputs = function(at).unbind(-1)
        rows = [torch.autograd.grad(y.sum(), at, create_graph=True)[0] for y in outputs]
    found = torch.stack(rows, -2)
    return found if differentiated else found.detach()


def _forward(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    size = at.shape[-1]
    unit = torch.eye(size, dtype=at.dtype, device=at.device)
    directions = unit.view(size, *(1 for _ in at.shape[:-1]), size).expand(size, *at.shape)
    copies = at.expand(size, *at.shape)
    with forward_ad.dual_level():
        # Copied: a dual number takes no tensor whose elements share memory.
        duals = _dual(copies.contiguous(), directions.contiguous())
        outputs = _side_by_side(function, duals)
        tangents = forward_ad.unpack_dual(outputs).tangent
    if tangents is None:  # a constant
        tangents = torch.zeros_like(outputs)
    return tangents.movedim(0, -1)


def _side_by_side(function: Callable[[Tensor], Tensor], copies: Tensor) -> Tensor:
    """The function of all copies of its input; if it takes but one, it is told of a wrapper."""
    try:
        return function(copies)
    except RuntimeError as error:
        if type(error) is not RuntimeError or not _runs(function, copies[0]):
            raise
        raise ShapeError(
            "jacobian: expected a function of any leading shape, for all directions side by side; "
            f"got {list(copies.shape)} and one that ended in: {without_trace(error)}. Wrap a "
            "network of one batch dimension, pyro_vae.nn.LeadingShape(network, event_dim=1), or "
            "take mode='reverse'."
        ) from error


def _runs(function: Callable[[Tensor], Tensor], at: Tensor) -> bool:
    try:
        function(at)
    except RuntimeError:
        return False
    return True


def _dual(value: Tensor, tangent: Tensor) -> Tensor:
    with warnings.catch_warnings():
        # The first use has torch script some derivatives of its own, which it deprecates itself.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        return forward_ad.make_dual(value, tangent)
