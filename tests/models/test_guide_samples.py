"""Guides on the positive numbers, the unit interval and the simplex: samples from the density.

Each density has jumps or poles at the ends of its support. It is held against its samples where it
has none, as the density of y on the whole plane: log z, the logit of z, or log z_j/z_n.

A right guide fails one of these tests once in 10⁶ seeds, any of them once in 10⁵.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pyro_vae import BetaGuide, DirichletGuide, GammaGuide, Guide, LogNormalGuide
from tests.models.goodness import check_plane

pytestmark = pytest.mark.usefixtures("float64")

LogProb = Callable[[Tensor], Tensor]


def constant(kind: type[Guide], *parameters: float) -> Guide:
    """With parameters that are given, before the softplus, whatever the data."""
    encoder = nn.Linear(1, len(parameters))
    nn.init.zeros_(encoder.weight)
    with torch.no_grad():
        encoder.bias.copy_(torch.tensor(parameters))
    return kind(encoder)


def raw(*values: float) -> list[float]:
    """What a softplus makes the values of."""
    return [math.log(math.expm1(value)) for value in values]


def of_log(log_prob: LogProb) -> LogProb:
    """log p of y = log z: dz/dy = z."""
    return lambda y: log_prob(y.exp()) + y.sum(-1)


def of_logit(log_prob: LogProb) -> LogProb:
    """log p of y = logit z: dz/dy = z (1 − z)."""
    return lambda y: log_prob(y.sigmoid()) + (logsigmoid(y) + logsigmoid(-y)).sum(-1)


def of_log_ratios(log_prob: LogProb) -> LogProb:
    """log p of y_j = log z_j/z_n: |∂z/∂y| = ∏ z over all n."""

    def found(y: Tensor) -> Tensor:
        log_z = torch.cat([y, torch.zeros_like(y[:, :1])], -1).log_softmax(-1)
        return log_prob(log_z.exp()) + log_z.sum(-1)

    return found


def check(guide: Guide, to_plane: Callable[[Tensor], Tensor], of: Callable[..., LogProb]) -> None:
    torch.manual_seed(0)
    q = guide.posterior(torch.zeros(1, 1))
    with torch.no_grad(), pyro.validation_enabled(False):  # rounded onto the end of a support
        y = to_plane(q.sample((100_000,))[:, 0])
        assert (y.abs() < 12).all(-1).double().mean() > 1 - 1e-3
        check_plane(of(q.log_prob), y[(y.abs() < 12).all(-1)], -12.0, 12.0, cells=120)


@pytest.mark.parametrize("rates", [(1.0, 2.0), (0.2, 30.0)], ids=str)
@pytest.mark.parametrize("concentrations", [(0.8, 3.0), (1.0, 40.0)], ids=str)
def test_gamma(concentrations: tuple[float, float], rates: tuple[float, float]) -> None:
    check(constant(GammaGuide, *raw(*concentrations), *raw(*rates)), torch.log, of_log)


@pytest.mark.parametrize("concentrations", [(0.8, 3.0, 1.0, 0.9), (2.0, 10.0, 20.0, 2.0)], ids=str)
def test_beta(concentrations: tuple[float, ...]) -> None:
    check(constant(BetaGuide, *raw(*concentrations)), torch.logit, of_logit)


@pytest.mark.parametrize("scales", [(0.3, 2.0), (1.0, 0.5)], ids=str)
def test_log_normal(scales: tuple[float, float]) -> None:
    check(constant(LogNormalGuide, 0.4, -1.0, *raw(*scales)), torch.log, of_log)


@pytest.mark.parametrize("concentrations", [(0.9, 1.0, 1.5), (8.0, 1.0, 2.0)], ids=str)
def test_dirichlet(concentrations: tuple[float, ...]) -> None:
    def log_ratios(z: Tensor) -> Tensor:
        return (z[:, :-1] / z[:, -1:]).log()

    check(constant(DirichletGuide, *raw(*concentrations)), log_ratios, of_log_ratios)
