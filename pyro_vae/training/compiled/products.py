"""Matrix products apart from what is added to them."""

from __future__ import annotations

from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

__all__ = ["BiasesApart"]

aten = torch.ops.aten


class BiasesApart(CustomGraphPass):
    """A pass over TorchInductor's graph: a layer's bias is added in the loop over the elements that
    follows its product.

    On a processor ``addmm`` copies the bias to each row of its output before it multiplies: one
    more pass over memory, where the next loop, over a ReLU say, would have added it for nothing.
    """

    def __call__(self, graph: Graph) -> None:
        for node in list(graph.nodes):
            if node.target is aten.addmm.default and _is_plain(node):
                _take_apart(graph, node)

    def uuid(self) -> Any:
        """Part of the key under which TorchInductor keeps what it compiled."""
        return get_hash_for_files((__file__,))


def _is_plain(node: Node) -> bool:
    """On a processor, without factors."""
    return node.meta["val"].device.type == "cpu" and not node.kwargs


def _take_apart(graph: Graph, node: Node) -> None:
    bias, *factors = node.args
    with graph.inserting_before(node):
        product = graph.call_function(aten.mm.default, tuple(factors))
        total = graph.call_function(aten.add.Tensor, (product, bias))
    product.meta["val"] = total.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(total)
    graph.erase_node(node)
