"""Operations taken apart for the compiler compute what they are put for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pyro_vae.training.compiled.decompositions import DECOMPOSITIONS
from pyro_vae.training.compiled.gradient import record


@pytest.mark.parametrize(
    ("layer", "shape", "dim"),
    [
        (nn.Linear(5, 3), (7, 5), 0),
        (nn.Linear(5, 3), (7, 5), 1),
        (nn.Conv2d(2, 3, 3), (4, 2, 6, 6), 0),
    ],
    ids=["rows", "columns", "convolution"],
)
def test_weight_norm_and_its_gradient(layer: nn.Module, shape: tuple[int, ...], dim: int) -> None:
    layer = weight_norm(layer, dim=dim).double()
    parameters = list(layer.parameters())
    x = torch.randn(shape, dtype=torch.float64)

    def step(x: Tensor) -> list[Tensor]:
        y = layer(x).square().sum()
        return [y, *torch.autograd.grad(y, parameters)]

    expected = step(x)
    graph = record(step, [x])
    called = {node.target for node in graph.module.graph.nodes}
    assert not called & DECOMPOSITIONS.keys()
    torch.testing.assert_close(graph(x), expected)
