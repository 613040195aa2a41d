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

__all__ = ["ProductsApart"]

aten = torch.ops.aten

_THIN = 4  # up to here a loop is faster than a call of the BLAS


class ProductsApart(CustomGraphPass):
    """A pass over TorchInductor's graph, for processors.

    A layer's bias is added in the loop over the elements that follows its product: ``addmm`` would
    copy it to each row of its output beforehand, one more pass over memory.

    A product with a few rows, columns or terms, such as those of two-dimensional data or latents,
    is a loop over the elements itself, and so part of the loops around it.
    """

    def __call__(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            if node.target is aten.addmm.default and not node.kwargs:  # alpha, beta
                _replace(graph, node, lambda bias, a, b: _product(a, b) + bias)
            elif node.target is aten.mm.default:
                _replace(graph, node, _product)

    def uuid(self) -> Any:
        """Part of the key under which TorchInductor keeps what it compiled."""
        return get_hash_for_files((__file__,))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """[rows, inner] × [inner, columns]."""
    rows, inner, columns = a.shape[0], *b.shape
    if _is_thin(inner):
        return reduce(torch.add, [a[:, j, None] * b[j] for j in range(inner)])
    # Where one operand has its vectors side by side, each of the other's gives a sum of them. A
    # weight's gradient is such a product: sums over the data, like the bias's and beside it.
    if _is_thin(columns) and a.stride(0) == 1:
        return torch.cat([(a * b[:, j]).sum(1, keepdim=True) for j in range(columns)], 1)
    if _is_thin(rows) and b.stride(1) == 1:
        return torch.cat([(a[j, :, None] * b).sum(0, keepdim=True) for j in range(rows)], 0)
    return aten.mm(a, b)


def _is_thin(size: int) -> bool:
    return 1 <= size <= _THIN


def _replace(graph: Graph, node: Node, function: Callable[..., Tensor]) -> None:
    """``function`` of a node's arguments in its place."""
    arguments: Any = node.args  # nodes, all of them
    values = [argument.meta["val"] for argument in arguments]
    if values[0].device.type != "cpu":
        return
    traced = make_fx(function)(*values).graph
    inputs = [n for n in traced.nodes if n.op == "placeholder"]
    with graph.inserting_before(node):
        other = graph.graph_copy(traced, dict(zip(inputs, arguments, strict=True)))
    assert isinstance(other, Node)
    node.replace_all_uses_with(other)
    graph.erase_node(node)
