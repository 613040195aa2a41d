"""What a Pyro program closes over: modules, buffers, and plain values a trace would freeze."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["UntraceableError", "Watched", "modules_of", "pointers", "replaced", "restored"]

_PLAIN = (bool, int, float, complex, str, type(None))


class UntraceableError(RuntimeError):
    """A program that does not become a fixed graph: the message says where and why."""


def modules_of(*programs: Any) -> list[nn.Module]:
    """The modules the programs are, are methods of, or have in their closures and globals."""
    roots = [found for program in programs for found in _reached(program, set())]
    modules = {id(root): root for root in roots if isinstance(root, nn.Module)}
    return list(modules.values())


def _reached(program: Any, seen: set[int]) -> Iterator[Any]:
    """``program`` and the objects and functions it refers to by name."""
    if id(program) in seen:
        return
    seen.add(id(program))
    if isinstance(program, MethodType):
        yield from _reached(program.__self__, seen)
        yield from _reached(program.__func__, seen)
    elif isinstance(program, functools.partial):
        for part in (program.func, *program.args, *program.keywords.values()):
            yield from _reached(part, seen)
    elif isinstance(program, FunctionType):
        yield program
        for value in _referred(program).values():
            if isinstance(value, nn.Module | FunctionType | MethodType | functools.partial):
                yield from _reached(value, seen)
    elif isinstance(program, nn.Module) or hasattr(program, "__dict__"):
        yield program


def _referred(function: FunctionType) -> dict[str, Any]:
    """Closure cells and globals by the names in the function's code."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    found = {n: cell.cell_contents for n, cell in cells.items() if _is_filled(cell)}
    names = function.__code__.co_names
    return found | {n: function.__globals__[n] for n in names if n in function.__globals__}


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # a variable that has no value yet
        return False
    return True


class Watched:
    """The plain values (numbers, strings, flags) that the programs read: a trace holds copies.

    ``values()`` changes when one of them does — ``training`` of a module, a temperature kept as an
    attribute, a global number — and the pair is then traced again.

    Args:
        programs: models, guides, and functions they are made of.
        others: by name the attributes of what else a trace depends on, and which of those it has
            as inputs.
    """

    def __init__(
        self, *programs: Any, others: dict[str, tuple[dict[str, Any], tuple[str, ...]]]
    ) -> None:
        self._read: list[Callable[[], Any]] = []
        self._names: list[str] = []
        for reached in {id(r): r for p in programs for r in _reached(p, set())}.values():
            if isinstance(reached, FunctionType):
                self._watch_function(reached)
            elif isinstance(reached, nn.Module):
                for name, module in reached.named_modules():
                    self._watch(name or type(reached).__name__, vars(module))
            else:
                self._watch(type(reached).__name__, vars(reached))
        for owner, (values, apart) in others.items():
            self._watch(owner, values, apart)

    def values(self) -> tuple[Any, ...]:
        """All of them now."""
        return tuple([_plain(read()) for read in self._read])

    def changed(self, before: tuple[Any, ...]) -> list[str]:
        """The names of those that are not what they were."""
        pairs = zip(self._names, before, self.values(), strict=True)
        return [name for name, old, new in pairs if old != new]

    def _watch(self, owner: str, values: dict[str, Any], apart: tuple[str, ...] = ()) -> None:
        for name, value in values.items():
            if _is_plain(value) and name not in apart and not name.startswith("__"):
                self._names.append(f"{owner}.{name}")
                self._read.append(functools.partial(values.get, name))

    def _watch_function(self, function: FunctionType) -> None:
        for name, value in _referred(function).items():
            if _is_plain(value):
                self._names.append(f"{name} of {function.__name__}")
                self._read.append(functools.partial(_value_of, function, name))


def _plain(value: Any) -> Any:
    """A value, or what kind of thing stands where there was one: ``None`` that became a tensor."""
    return value if _is_plain(value) else type(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _value_of(function: FunctionType, name: str) -> Any:
    return _referred(function).get(name)


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute has another value inside."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def restored(modules: list[nn.Module], parameters: list[Tensor]) -> Iterator[None]:
    """Buffers of the modules and gradients of the parameters are after it what they were before.

    Raises:
        UntraceableError: when a buffer was replaced by another tensor, not written in place.
    """
    buffers = {
        name: (module, name.rpartition(".")[2], buffer, buffer.clone())
        for root in modules
        for prefix, module in root.named_modules()
        for name, buffer in module.named_buffers(prefix, recurse=False)
    }
    gradients = [(p, p.grad) for p in parameters]
    try:
        yield
    finally:
        replaced = [
            name
            for name, (module, own, buffer, _) in buffers.items()
            if module._buffers.get(own) is not buffer
        ]
        for module, own, buffer, before in buffers.values():
            module._buffers[own] = buffer
            with torch.no_grad():
                buffer.copy_(before)
        for parameter, gradient in gradients:
            parameter.grad = gradient
    if replaced:
        raise UntraceableError(
            f"the buffer {replaced[0]} is replaced at each step; write it in place (copy_)"
        )


def pointers(tensors: list[Tensor]) -> list[int]:
    """Where the tensors' values lie."""
    return [tensor.data_ptr() for tensor in tensors]
