"""The pass over products: the same numbers from other operations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.training.compiled.products import ProductsApart

aten = torch.ops.aten


def matrix(*shape: int, transposed: bool = False, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    shape = shape[::-1] if transposed else shape
    found = torch.randn(shape, dtype=dtype, generator=generator)
    return found.t() if transposed else found


def passed(function: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, list[object]]:
    """What the graph gives after the pass, and its products."""
    traced = make_fx(function, tracing_mode="fake")(*inputs)
    ProductsApart()(traced.graph)
    traced.graph.lint()
    traced.recompile()
    kinds = (aten.mm.default, aten.addmm.default)
    return traced(*inputs), [n.target for n in traced.graph.nodes if n.target in kinds]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("a", "b", "left"),
    [
        ({"shape": (9, 4)}, {"shape": (4, 8)}, 0),
        ({"shape": (9, 1)}, {"shape": (1, 8), "transposed": True}, 0),
        ({"shape": (9, 7), "transposed": True}, {"shape": (7, 2)}, 0),
        ({"shape": (3, 7), "transposed": True}, {"shape": (7, 8)}, 0),
        ({"shape": (3, 7)}, {"shape": (7, 3), "transposed": True}, 1),
        ({"shape": (9, 7)}, {"shape": (7, 8)}, 1),
    ],
)
def test_a_product_is_what_it_was(a: dict, b: dict, left: int, dtype: torch.dtype) -> None:
    a, b = ({"dtype": dtype, **m} for m in (a, b))
    first, second = (matrix(*m.pop("shape"), **m) for m in (a, b))
    got, products = passed(aten.mm, first, second)
    assert got.dtype == dtype
    torch.testing.assert_close(got, first @ second)
    assert products == [aten.mm.default] * left


def test_a_bias_is_added_apart() -> None:
    inputs = matrix(8), matrix(9, 7), matrix(7, 8)
    got, products = passed(aten.addmm, *inputs)
    torch.testing.assert_close(got, torch.addmm(*inputs))
    assert products == [aten.mm.default]


def test_factors_stay_where_they_are() -> None:
    inputs = matrix(8), matrix(9, 7), matrix(7, 8)
    got, products = passed(lambda *m: aten.addmm(*m, beta=0.5, alpha=2.0), *inputs)
    torch.testing.assert_close(got, torch.addmm(*inputs, beta=0.5, alpha=2.0))
    assert products == [aten.addmm.default]
