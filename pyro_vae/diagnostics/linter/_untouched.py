"""Running programs without leaving a trace of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.util import get_rng_state, set_rng_state
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy

from pyro_vae._errors import PairError
from pyro_vae._modes import forked_rng, own_param_store

Program = Callable[[Tensor], object]

VALIDATION = (
    "validate_distributions_pyro",
    "validate_distributions_torch",
    "validate_infer",
    "validate_poutine",
)
"""Pyro's settings that make wrong arguments an error."""


@contextmanager
def untouched(programs: Mapping[str, Program], device: torch.device) -> Iterator[Modules]:
    """Validation and gradients on inside; afterwards everything is as it was before.

    That is: Pyro's parameter store, random states, settings, and what modules hold — their modes,
    buffers, parameters, and what a ``PyroModule`` notes at its first call.
    """
    modules = Modules({name: owner(program) for name, program in programs.items()})
    hook = register_module_forward_pre_hook(modules.note_call)
    settings = pyro.settings.context(**dict.fromkeys(VALIDATION, True))
    rng = get_rng_state()
    try:
        with (
            own_param_store(),
            settings,
            torch.enable_grad(),
            forked_rng(0, device),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield modules
    finally:
        hook.remove()
        set_rng_state(rng)
        modules.restore()


def owner(program: Program) -> object:
    """The object whose method a program is, or the program itself."""
    return getattr(program, "__self__", program)


class Modules:
    """Modules as they were when first met: those given, and each that is called.

    Iteration gives each module's full name, from ``"model"``, ``"guide"`` or its class on, and it.
    """

    def __init__(self, programs: Mapping[str, object]) -> None:
        self._before: dict[int, _Before] = {}
        for name, program in programs.items():
            if isinstance(program, nn.Module):
                self._note(name, program)

    def __iter__(self) -> Iterator[tuple[str, nn.Module]]:
        return ((before.name, before.module) for before in self._before.values())

    def note_call(self, module: nn.Module, _: Any) -> None:
        """What torch calls before each module."""
        if any(map(is_lazy, module.parameters(recurse=False))):
            raise PairError(
                f"{type(module).__name__}: expected weights; got a lazy module that has none yet. "
                "Call the network once, e.g. guide.encoder(x), before this check."
            )
        if id(module) not in self._before:
            self._note(type(module).__name__, module)

    def _note(self, root: str, module: nn.Module) -> None:
        for name, part in module.named_modules(prefix=root):
            if id(part) not in self._before:
                self._before[id(part)] = _Before(name, part)

    def replaced(self) -> list[str]:
        """Parameters in whose place there is another tensor now: full names."""
        return [
            f"{before.name}.{name}"
            for before in self._before.values()
            for name, parameter in before.parameters.items()
            if parameter is not before.module._parameters.get(name, parameter)
        ]

    def restore(self) -> None:
        """Make every module what it was."""
        for before in self._before.values():
            before.restore()


class _Before:
    """What a module holds, to be put back: shallow, but for its buffers' values."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module = name, module
        self.parameters = dict(module._parameters)
        attributes = vars(module)
        context = attributes.get("_pyro_context")
        held = [attributes, *(value for value in attributes.values() if isinstance(value, dict))]
        if context is not None:
            held.append(vars(context))  # whether a PyroModule was called: its name may not change
        self._held = [(container, dict(container)) for container in held]
        self._buffers = [
            (buffer, buffer.detach().clone())
            for buffer in module._buffers.values()
            if buffer is not None and not is_lazy(buffer)
        ]

    def restore(self) -> None:
        for container, content in self._held:
            container.clear()
            container.update(content)
        with torch.no_grad():
            for buffer, value in self._buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
