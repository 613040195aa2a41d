"""How a traced step is carried out: fused by a compiler, replayed on a GPU, or as it was traced."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_vae.training.compiled.memory import keep_freed_memory

__all__ = ["Backend", "inductor", "replay"]

Backend = Callable[[GraphModule, list[Tensor]], Callable[..., Any]]

_OPTIONS = {
    # The very random numbers that eager Pyro draws, from torch's own generators.
    "fallback_random": True,
    # Shapes and strides are checked once, where the step is called, not at each kernel.
    "size_asserts": False,
}


_WARM_UP = 3  # runs before a capture, as CUDA graphs ask for


def replay(graph: GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """The traced operations one after another: no time to compile, no handlers, not fused."""
    return graph.forward


def inductor(graph: GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """Fused by TorchInductor: C++ and OpenMP on a CPU; Triton and a CUDA graph on a GPU.

    PyTorch keeps on disk what it compiled.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of its own code
        from torch._inductor import compile as compile_graph

        if inputs[0].is_cuda:
            return _captured(compile_graph(graph, list(inputs), options=_OPTIONS), inputs)
        keep_freed_memory()
        return compile_graph(_unmarked(graph), list(inputs), options=_OPTIONS | _on_processor())


def _on_processor() -> dict[str, Any]:
    from pyro_vae.training.compiled.products import ProductsApart  # imports TorchInductor

    return {
        # What calls the kernels is in C++ too: in Python it takes as long as a small product.
        "cpp_wrapper": True,
        "post_grad_custom_post_pass": ProductsApart(),
    }


def _unmarked(graph: GraphModule) -> GraphModule:
    """The graph without the values of its recording, which TorchInductor would take for its own."""
    for node in graph.graph.nodes:
        node.meta.pop("val", None)
    return graph


def _captured(run: Callable[..., Any], inputs: list[Tensor]) -> Callable[..., Any]:
    """``run`` as a CUDA graph: one launch for all its kernels.

    The tensors a graph works on are those of its capture. Parameters, state and scalars stay where
    they are; what comes from elsewhere — a batch, its indices — is copied in.
    """
    static = [tensor.clone() for tensor in inputs]
    device = inputs[0].device
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.random.fork_rng([device]), torch.cuda.stream(stream):
        for _ in range(_WARM_UP):  # on copies: kernels are chosen, memory is taken
            run(*static)
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run(*inputs)
    places = [tensor.data_ptr() for tensor in inputs]

    def replayed(*given: Tensor) -> list[Tensor]:
        for own, place, tensor in zip(inputs, places, given, strict=True):
            if tensor.data_ptr() != place:
                own.copy_(tensor)
        graph.replay()
        return [outputs[0].clone()]

    return replayed
