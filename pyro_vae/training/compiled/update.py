"""An optimizer's update as tensor operations, traced from ``torch.optim`` itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from pyro_vae.training.compiled.programs import replaced

__all__ = ["ELEMENTWISE", "hyperparameters", "state_keys", "updated"]

# Each element of a parameter is updated by itself, so that parameters may lie side by side in one
# tensor. (Not so LBFGS, Adafactor or Muon.)
ELEMENTWISE = (
    torch.optim.Adadelta,
    torch.optim.Adagrad,
    torch.optim.Adam,
    torch.optim.Adamax,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
    torch.optim.Rprop,
    torch.optim.SGD,
)

# How the update is carried out, not what it is: one fused kernel is what compiling is for.
_HOW = {"foreach": False, "fused": False, "differentiable": False, "capturable": True}


def hyperparameters(group: dict[str, Any]) -> dict[str, Any]:
    """What a trace holds as constants: all but the parameters and the learning rate."""
    return {k: v for k, v in group.items() if k not in ("params", "lr", "initial_lr", *_HOW)}


def state_keys(optimizer: Optimizer, group: dict[str, Any]) -> list[str]:
    """The tensors in the optimizer's state of each parameter of a group, found by trying it."""
    trial = torch.zeros(1, requires_grad=True)
    trial.grad = torch.ones(1)
    copy = _copy(optimizer, group, trial, float(group["lr"]))
    copy.step()
    return [k for k, v in copy.state[trial].items() if isinstance(v, Tensor)]


def updated(
    optimizer: Optimizer,
    group: dict[str, Any],
    parameter: Tensor,
    gradient: Tensor,
    state: dict[str, Tensor],
    lr: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """A parameter and its state after one step of an optimizer like ``optimizer``.

    Nothing that is given is changed.

    Args:
        optimizer: its class is taken; of ``ELEMENTWISE``.
        group: the hyperparameters.
        parameter, gradient: of one shape.
        state: as in ``optimizer.state``.
        lr: a number as a float64 tensor, so that schedules do not change the graph.
    """
    parameter = parameter.clone()
    parameter.grad = gradient
    copy = _copy(optimizer, group, parameter, lr)
    copy.state[parameter] = {name: value.clone() for name, value in state.items()}
    with _numbers_as_tensors():
        inspect.unwrap(type(copy).step)(copy)  # without the profiler's hooks
    return parameter, {name: copy.state[parameter][name] for name in state}


def _copy(
    optimizer: Optimizer, group: dict[str, Any], parameter: Tensor, lr: float | Tensor
) -> Optimizer:
    """An optimizer of the same class and settings over one parameter, without state."""
    kind: Any = type(optimizer)  # each of ELEMENTWISE has defaults for all but the parameters
    copy = kind([parameter])
    own = copy.param_groups[0]
    own.update({k: v for k, v in group.items() if k != "params"}, lr=lr)
    own.update({k: v for k, v in _HOW.items() if k in own and isinstance(lr, Tensor)})
    copy.state.clear()
    return copy


@contextmanager
def _numbers_as_tensors() -> Iterator[None]:
    """``torch.optim`` takes its path for compilers, on which a step count stays a tensor."""
    with ExitStack() as stack:
        stack.enter_context(replaced(torch.compiler, "is_compiling", lambda: True))
        stack.enter_context(_TensorFactors())
        yield


class _TensorFactors(TorchFunctionMode):
    """In-place operations whose scalar factor is a tensor, as a learning rate here is."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.Tensor.add_ and isinstance(kwargs.get("alpha"), Tensor):
            return args[0].add_(args[1] * kwargs["alpha"])
        if isinstance(kwargs.get("value"), Tensor):
            if function is torch.Tensor.addcdiv_:
                return args[0].add_(args[1] / args[2] * kwargs["value"])
            if function is torch.Tensor.addcmul_:
                return args[0].add_(args[1] * args[2] * kwargs["value"])
        return function(*args, **kwargs)
