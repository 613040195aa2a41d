"""The networks of a case in PyTorch, with the weights given."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn

from experiments.speed.cases import Case, networks
from experiments.speed.inputs import Inputs

__all__ = ["filled", "first_batch", "mlp"]

Module = TypeVar("Module", bound=nn.Module)


def mlp(case: Case, inputs: Inputs, name: str) -> nn.Sequential:
    """A network of linear layers with a ReLU between them."""
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise(networks(case)[name]):
        layers += [nn.Linear(size_in, size_out), nn.ReLU()]
    return filled(nn.Sequential(*layers[:-1]), inputs, name)


@torch.no_grad()
def filled(module: Module, inputs: Inputs, name: str) -> Module:
    """The module, its linear layers given a network's weights in their order."""
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    for layer, (weight, bias) in zip(linear, inputs.layers(name), strict=True):
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return module


def first_batch(case: Case, count: int) -> torch.Tensor:
    """The first batch ``count`` times, as indices, [count, batch]."""
    return torch.arange(case.batch).expand(count, -1)
