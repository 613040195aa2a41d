"""Matrix products on a processor, as the loops around them like them best."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.training.compiled import routines
from pyro_vae.training.compiled.routines import ROUTINES, Routines

__all__ = ["ProductsApart"]

aten = torch.ops.aten

Product = Callable[[Tensor, Tensor], Tensor]

_THIN = 4  # up to here a loop is faster than a call of the BLAS


class ProductsApart(CustomGraphPass):
    """A pass over TorchInductor's graph, for processors.

    A layer's bias is added in the loop over the elements that follows its product: ``addmm`` would
    copy it to each row of its output beforehand, one more pass over memory.

    A product with a few rows, columns or terms, such as those of two-dimensional data or latents,
    is a loop over the elements itself, and so part of the loops around it. A large one is given to
    the routine that is the fastest for it.

    Args:
        routines: choose that; by default from trials on this machine.
    """

    def __init__(self, routines: Routines | None = None) -> None:
        self._routines = Routines() if routines is None else routines

    def __call__(self, graph: Graph) -> None:
        for node in [n for n in graph.nodes if n.op == "call_function" and _is_here(n)]:
            if node.target is aten.addmm.default and not node.kwargs:  # alpha, beta
                total = _replace(graph, node, lambda bias, a, b: aten.mm(a, b) + bias)
                [node] = [n for n in total.all_input_nodes if n.target is aten.mm.default]
            if node.target is aten.mm.default:
                _replace(graph, node, self._product(*(n.meta["val"] for n in node.args)))

    def uuid(self) -> Any:
        """Part of the key under which TorchInductor keeps what it compiled."""
        return get_hash_for_files((__file__, routines.__file__), str(torch.get_num_threads()))

    def _product(self, a: Tensor, b: Tensor) -> Product:
        """How to multiply matrices like these."""
        return _loop(a, b) or ROUTINES[self._routines.fastest(a, b)]


def _loop(a: Tensor, b: Tensor) -> Product | None:
    """[rows, inner] × [inner, columns] as a loop, if it is to be one."""
    rows, inner, columns = a.shape[0], *b.shape
    if _is_thin(inner):
        return lambda a, b: reduce(torch.add, [a[:, j, None] * b[j] for j in range(inner)])
    # Where one operand has its vectors side by side, each of the other's gives a sum of them. A
    # weight's gradient is such a product: sums over the data, like the bias's and beside it.
    if _is_thin(columns) and a.stride(0) == 1:
        return lambda a, b: torch.cat(
            [(a * b[:, j]).sum(1, keepdim=True) for j in range(columns)], 1
        )
    if _is_thin(rows) and b.stride(1) == 1:
        return lambda a, b: torch.cat(
            [(a[j, :, None] * b).sum(0, keepdim=True) for j in range(rows)], 0
        )
    return None


def _is_thin(size: int) -> bool:
    return 1 <= size <= _THIN


def _is_here(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.device.type == "cpu"


def _replace(graph: Graph, node: Node, function: Callable[..., Tensor]) -> Node:
    """``function`` of a node's arguments in its place."""
    arguments: Any = node.args  # nodes, all of them
    traced = make_fx(function)(*(argument.meta["val"] for argument in arguments)).graph
    inputs = [n for n in traced.nodes if n.op == "placeholder"]
    with graph.inserting_before(node):
        other = graph.graph_copy(traced, dict(zip(inputs, arguments, strict=True)))
    assert isinstance(other, Node)
    node.replace_all_uses_with(other)
    graph.erase_node(node)
    return other
