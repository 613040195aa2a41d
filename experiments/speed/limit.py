"""What no implementation can be faster than: the time of a step's matrix products alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from experiments.speed.cases import Case, Layer, layers
from experiments.speed.spread import median

__all__ = ["case_limit", "flops", "peak", "products", "products_seconds"]

_SIZES = (512, 1024, 2048)
_REPEATS, _SECONDS = 5, 0.05

Product = tuple[int, int, int]
"""[rows, inner] times [inner, columns]."""


def flops(of: Iterable[Layer]) -> int:
    """Of all matrix products of a step, forward and backward."""
    return sum(layer.flops for layer in of)


def products(layer: Layer) -> list[tuple[Product, str]]:
    """A layer's products, and what is transposed in memory: W and its gradient are [out, in]."""
    n, i, o = layer.rows, layer.inputs, layer.outputs
    found = [((n, i, o), "second"), ((o, n, i), "first")]
    return [*found, ((n, o, i), "none")] if layer.input_gradient else found


def peak(device: str, quick: bool = False) -> dict[str, float]:
    """FLOP/s of square float32 products with all threads: the best size, by library.

    On a processor torch has two: the BLAS that ``torch.mm`` calls, and oneDNN, which its compiler
    calls for linear layers. Which one is faster depends on who made the processor.
    """
    sizes = _SIZES[:1] if quick else _SIZES
    found = {"torch.mm": max(_rate(n, _product((n, n, n), "second", device)) for n in sizes)}
    if device == "cpu" and torch.backends.mkldnn.is_available():
        found["oneDNN"] = max(_rate(n, _onednn(n)) for n in sizes)
    return found


def products_seconds(case: Case, device: str) -> float:
    """``torch.mm``'s time for every product of a step, each in its shape and layout."""
    each = [p for layer in layers(case) for p in products(layer)]
    known = {p: _seconds(_product(*p, device), device) for p in dict.fromkeys(each)}
    return sum(known[p] for p in each)


def case_limit(case: Case, rates: dict[str, float], device: str) -> dict[str, float]:
    """A case's limit: its products at the best rate there is, and beside it at their own shapes."""
    count = flops(layers(case))
    return {
        "flops": count,
        "milliseconds": 1e3 * count / max(rates.values()),
        "same_shapes_milliseconds": 1e3 * products_seconds(case, device),
    }


def _product(shape: Product, transposed: str, device: str) -> Callable[[], Tensor]:
    rows, inner, columns = shape
    a, b = torch.randn(rows, inner, device=device), torch.randn(inner, columns, device=device)
    if transposed == "first":
        a = a.t().contiguous().t()
    if transposed == "second":
        b = b.t().contiguous().t()
    out = torch.empty(rows, columns, device=device)
    return lambda: torch.mm(a, b, out=out)


def _onednn(size: int) -> Callable[[], Tensor]:
    x, weight = torch.randn(size, size), torch.randn(size, size)
    linear: Any = torch.ops.mkldnn._linear_pointwise
    return lambda: linear(x, weight, None, "none", [], "")


def _rate(size: int, multiply: Callable[[], Tensor]) -> float:
    device = multiply().device.type
    return 2 * size**3 / _seconds(multiply, device)


@torch.no_grad()
def _seconds(work: Callable[[], object], device: str) -> float:
    """The median of some blocks, each long enough for the clock."""
    count = 1
    while (taken := _block(work, count, device)) < _SECONDS / _REPEATS:
        count = max(2 * count, int(count * _SECONDS / _REPEATS / max(taken, 1e-9)))
    return median([_block(work, count, device) / count for _ in range(_REPEATS)])


def _block(work: Callable[[], object], count: int, device: str) -> float:
    started = time.perf_counter()
    for _ in range(count):
        work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started
