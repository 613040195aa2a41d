"""Matrix products in a lower precision, everything else as it is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["products_in_bfloat16"]

_PRODUCTS = (
    functional.bilinear,
    functional.conv1d,
    functional.conv2d,
    functional.conv3d,
    functional.conv_transpose1d,
    functional.conv_transpose2d,
    functional.conv_transpose3d,
    functional.linear,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
    Tensor.addmm,
    Tensor.baddbmm,
    Tensor.bmm,
    Tensor.matmul,
    Tensor.mm,
    torch.addmm,
    torch.baddbmm,
    torch.bmm,
    torch.einsum,
    torch.matmul,
    torch.mm,
)


def products_in_bfloat16(wanted: bool = True) -> AbstractContextManager[Any]:
    """Inside, linear layers, convolutions and matrix products take float32 for bfloat16.

    What they give is in float32 again, so that activations, samples, log-probabilities and sums are
    computed in it — other than under ``torch.autocast`` alone, where a density whose location a
    layer gave would have the layer's precision. Unless ``wanted`` nothing changes.
    """
    return _InBfloat16() if wanted else nullcontext()


class _InBfloat16(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if function not in _PRODUCTS or not tensors:
            return function(*args, **kwargs)
        with torch.autocast(tensors[0].device.type, torch.bfloat16, cache_enabled=False):
            return function(*args, **kwargs).to(tensors[0].dtype)
