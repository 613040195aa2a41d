"""Random numbers taken out of a graph, so that each member of an ensemble can have its own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule, Node

from pyro_vae.training.compiled.programs import UntraceableError

__all__ = ["Split", "split_noise"]

# What these are given lends its shape alone.
_SHAPED = {
    torch.ops.aten.normal_functional.default,
    torch.ops.aten.bernoulli.p,
    torch.ops.aten.exponential.default,
    torch.ops.aten.uniform.default,
    torch.ops.aten.rand_like.default,
    torch.ops.aten.randn_like.default,
}


@dataclass(frozen=True)
class Split:
    """A graph in two: ``rest(*inputs, *draw(*inputs))`` is what it was.

    ``draw`` gives its random tensors and uses only inputs that they may depend on.
    """

    draw: GraphModule
    rest: GraphModule


def split_noise(module: GraphModule, sources: Collection[int]) -> Split:
    """Take the random operations out of a graph without in-place ones.

    Args:
        module: the graph.
        sources: the positions of the inputs that random numbers may depend on, such as data that
            are binarised anew.

    Raises:
        UntraceableError: random numbers that depend on other inputs, on parameters say.
    """
    random = [node for node in module.graph.nodes if _is_random(node)]
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    given = {node for position, node in enumerate(inputs) if position in sources}

    draw = FxGraph()
    copies = {node: draw.placeholder(node.name) for node in inputs}

    def copied(node: Node) -> Node:
        if node not in copies:
            copies[node] = draw.node_copy(node, copied)
        return copies[node]

    for node in random:
        if node.target in _SHAPED:
            shape = node.args[0]
            assert isinstance(shape, Node)
            copies[shape] = _empty_like(draw, shape)
        else:
            _check_sources(node, inputs, given)
        copied(node)
    draw.output([copies[node] for node in random])
    return Split(GraphModule(module, draw), _without(module, random, inputs))


def _is_random(node: Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _empty_like(graph: FxGraph, node: Node) -> Node:
    value = node.meta["val"]
    kwargs = {"dtype": value.dtype, "device": value.device}
    return graph.call_function(torch.ops.aten.empty.memory_format, (list(value.shape),), kwargs)


def _check_sources(node: Node, inputs: list[Node], given: set[Node]) -> None:
    reached, left = {node}, [node]
    while left:
        for before in left.pop().all_input_nodes:
            if before not in reached:
                reached.add(before)
                left.append(before)
    if any(one in reached and one not in given for one in inputs):
        raise UntraceableError(
            f"the random numbers of {node.target} depend on parameters, and so cannot be drawn "
            "for each member beforehand"
        )


def _without(module: GraphModule, random: list[Node], inputs: list[Node]) -> GraphModule:
    """The graph with the random tensors as further inputs."""
    graph = FxGraph()
    copies: dict[Node, Node] = {}
    for node in inputs:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    for position, node in enumerate(random):
        copies[node] = graph.placeholder(f"noise_{position}")
    copy: Callable[[Node], Any] = copies.__getitem__
    for node in module.graph.nodes:
        if node not in copies:
            copies[node] = graph.node_copy(node, copy)
    return GraphModule(module, graph)
