"""State that a computation borrows and gives back: modules' modes, random numbers, parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor, nn

__all__ = [
    "evaluation_mode",
    "forked_rng",
    "modules_of",
    "own_param_store",
    "random_state",
    "set_random_state",
]


def modules_of(*programs: Callable[..., Any]) -> list[nn.Module]:
    """The modules among Pyro programs; a bound method stands for its module."""
    owners = [getattr(program, "__self__", program) for program in programs]
    return [owner for owner in owners if isinstance(owner, nn.Module)]


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; each submodule's own mode is put back after."""
    before = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in before:
            part.training = training


@contextmanager
def forked_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's random numbers seeded inside; the global state put back after."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if cuda else []):
        # Not `torch.manual_seed`, which seeds every CUDA device; only this one's state is kept.
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def random_state(device: torch.device) -> list[Tensor]:
    """The state of the random numbers used on a device: the CPU's, and the device's own."""
    own = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *own]


def set_random_state(device: torch.device, state: list[Tensor]) -> None:
    """Go on as from when :func:`random_state` gave ``state``."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def own_param_store() -> Iterator[None]:
    """What is in Pyro's parameter store is there inside; what is new or replaced is gone after."""
    store = pyro.get_param_store()
    state = {"params": dict(store.named_parameters()), "constraints": dict(store._constraints)}
    with store.scope(state):
        yield
    for name in store:
        store[name]  # gives the tensors back the .unconstrained that get_state takes from them
