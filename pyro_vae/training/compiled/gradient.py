"""A pair's loss and gradient as one graph of tensor operations, traced once from the programs."""

from __future__ import annotations

import importlib
import math
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jaxtyping
import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import get_proxy_mode, has_proxy_slot, make_fx
from torch.overrides import TorchFunctionMode

from pyro_vae.training.compiled.decompositions import DECOMPOSITIONS
from pyro_vae.training.compiled.masks import MaskedAssignments
from pyro_vae.training.compiled.programs import UntraceableError, replaced

__all__ = ["Graph", "record", "record_pair", "with_numbers_apart"]

Program = Callable[..., Any]

_INTERNAL = tuple(
    str(Path(module.__file__ or "").parent)
    for module in (torch, pyro, jaxtyping, importlib.import_module("pyro_vae"))
)


@dataclass(frozen=True)
class Graph:
    """A traced computation: ``module(*inputs, *captured)`` gives its outputs, a list of tensors.

    ``captured`` are the live tensors, not among the inputs, that the program reads or writes:
    buffers, frozen parameters, tensors in closures.
    """

    module: GraphModule
    captured: list[Tensor]

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        return self.module(*inputs, *self.captured)


class _Where(Messenger):
    """Remembers how far the programs got: which of the two runs, and its last sample site."""

    def __init__(self) -> None:
        super().__init__()
        self.program: str | None = None
        self.site: str | None = None

    def _pyro_sample(self, msg: Any) -> None:
        self.site = msg["name"]

    def inside(self, name: str, program: Program) -> Program:
        """``program``, known as the ``name`` while it runs."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self.program, self.site = name, None
            result = program(*args, **kwargs)
            self.program = None
            return result

        return run

    def __str__(self) -> str:
        if self.program is None:
            return "in the objective"
        return f"in the {self.program}, " + (
            "before its first site" if self.site is None else f"at or after site {self.site!r}"
        )


class _NoHostSync(TorchFunctionMode):
    """Values leave the graph nowhere.

    Pyro's objectives end in ``.item()``: what would be a number stays a tensor. In a model or guide
    a number, list or array made of a tensor would be frozen into the graph, so it is refused.
    """

    _TO_HOST = (torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__)

    def __init__(self, where: _Where) -> None:
        super().__init__()
        self._where = where

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.Tensor.item and self._where.program is None:
            return args[0].detach()
        if function in self._TO_HOST and self._where.program is not None:
            raise UntraceableError(f"{function.__name__}() takes values out of the graph")
        if function is torch.Tensor.unbind and _is_order(args[0]):
            return _constants(args[0])
        return function(*args, **(kwargs or {}))


def _is_order(x: Tensor) -> bool:
    """Whether it is a row of whole numbers of the program's own, and nothing computed."""
    if x.dim() != 1 or x.dtype != torch.int64:
        return False
    mode = get_proxy_mode()
    return mode is not None and not has_proxy_slot(x, mode.tracer)


def _constants(order: Tensor) -> tuple[Tensor, ...]:
    """``for i in order``, where i is going to index a list: Pyro's autoregressive transforms go
    through their permutation so to find an inverse."""
    return tuple(torch.tensor(i) for i in order.tolist())


def record(function: Callable[..., Any], inputs: list[Tensor]) -> Graph:
    """The tensor operations of ``function(*inputs)``, whatever else they read or write."""
    trace = make_fx(function, decomposition_table=DECOMPOSITIONS, tracing_mode="real")
    return _lifted(trace(*inputs))


def record_pair(
    run: Callable[[Program, Program], Any],
    model: Program,
    guide: Program,
    inputs: list[Tensor],
) -> Graph:
    """The operations of ``run(model, guide)`` on ``inputs``, wherever the programs have them from.

    The programs run once, as they are; ``inputs`` are the very tensors they meet — the parameters
    among them — and become the graph's inputs.

    Raises:
        UntraceableError: control flow on values, ``.item()`` in a program, and the like.
    """
    where = _Where()

    def traced(*_: Tensor) -> Any:
        return run(where.inside("model", model), where.inside("guide", guide))

    with _as_graph(where), where:
        try:
            return record(traced, inputs)
        except Exception as error:
            raise UntraceableError(f"{where}{_line(error)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    first = _causes(error)[0]
    told = (str(first).strip().splitlines() or ["no message"])[0]
    if "get value out of a tracing tensor" in told:
        return "it takes a number out of a tensor (control flow on values, .item(), float())"
    return told if isinstance(first, UntraceableError) else f"{type(first).__name__}: {told}"


def _line(error: Exception) -> str:
    """The innermost line of a user's own code."""
    for cause in _causes(error):
        frames = traceback.extract_tb(cause.__traceback__)
        if own := [frame for frame in frames if not frame.filename.startswith(_INTERNAL)]:
            return f" ({Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line})"
    return ""


def _causes(error: BaseException) -> list[BaseException]:
    """The first cause, what was made of it, and so on to ``error``."""
    before = error.__cause__ or error.__context__
    return [*(_causes(before) if before is not None else ()), error]


@contextmanager
def _as_graph(where: _Where) -> Iterator[None]:
    """No checks on values, no values on the host, one thread for the backward pass."""
    with ExitStack() as stack:
        stack.enter_context(pyro.validation_enabled(False))
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        stack.enter_context(_NoHostSync(where))
        stack.enter_context(MaskedAssignments())
        for module in _infer_modules():
            for name in ("warn_if_nan", "warn_if_inf"):
                if hasattr(module, name):
                    stack.enter_context(replaced(module, name, lambda value, *_, **__: value))
        yield


def _infer_modules() -> list[Any]:
    """Pyro's modules of objectives: each has the checks of its loss under a name of its own."""
    return [module for name, module in sys.modules.items() if name.startswith("pyro.infer.")]


def _lifted(module: GraphModule) -> Graph:
    """Constants that are live tensors become further inputs; numbers stay in the graph."""
    graph = module.graph
    graph.eliminate_dead_code()
    captured: list[Tensor] = []
    nodes: dict[int, Node] = {}
    last = [node for node in graph.nodes if node.op == "placeholder"][-1:]
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        value = getattr(module, str(node.target))
        if not isinstance(value, Tensor) or _is_number(node):
            continue
        if id(value) not in nodes:
            with graph.inserting_after(*last) if last else graph.inserting_before():
                nodes[id(value)] = graph.placeholder(f"captured_{len(captured)}")
            last = [nodes[id(value)]]
            captured.append(value.detach())
        node.replace_all_uses_with(nodes[id(value)])
        graph.erase_node(node)
    module.recompile()
    return Graph(module, captured)


def with_numbers_apart(graph: Graph, count: int = 1) -> Graph:
    """The same graph, whose numbers are computed once: they are outputs beside its own.

    A compiler would put the computation of a number (a bias correction with its powers) into the
    loop over the elements that it scales, and compute it again for each. Tensors of up to
    ``count`` elements are numbers.
    """
    nodes = graph.module.graph.nodes
    small = {node: _size(node) <= count for node in nodes}
    [output] = [node for node in nodes if node.op == "output"]
    computed = [node for node in nodes if node.op == "call_function" and node.all_input_nodes]
    numbers = [
        node
        for node in computed
        if small[node] and not all(small[user] for user in node.users if user is not output)
    ]
    own = output.args[0]
    output.args = ([*(own if isinstance(own, list | tuple) else [own]), *numbers],)
    graph.module.recompile()
    return graph


def _size(node: Node) -> float:
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else math.inf


def _is_number(node: Node) -> bool:
    """``torch.tensor(0.5)`` in a program: made there, so no one else can change it."""
    lifts = (torch.ops.aten.lift_fresh_copy.default, torch.ops.aten.lift_fresh.default)
    return all(user.target in lifts for user in node.users)
