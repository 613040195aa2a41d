"""How a traced step is carried out: fused by a compiler, replayed on a GPU, or as it was traced."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

__all__ = ["Backend", "inductor", "replay"]

Backend = Callable[[GraphModule, list[Tensor]], Callable[..., Any]]

_OPTIONS = {
    # The very random numbers that eager Pyro draws, from torch's own generators.
    "fallback_random": True,
    # Shapes and strides are checked once, where the step is called, not at each kernel.
    "size_asserts": False,
}


def replay(graph: GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """The traced operations one after another: no time to compile, no handlers, not fused."""
    return graph.forward


def inductor(graph: GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """Fused by TorchInductor: C++ and OpenMP on a CPU, Triton on a GPU. Cached on disk by torch."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of its own code
        from torch._inductor import compile as compile_graph

        return compile_graph(graph, list(inputs), options=_OPTIONS)
