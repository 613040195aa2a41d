"""Derivatives of decoders, and the Fisher information of likelihoods."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import Distribution

from pyro_vae import PairError
from pyro_vae.distributions import (
    ContinuousBernoulli,
    DiscretisedLogistic,
    GreyBernoulli,
    Logistic,
    Mode,
    jacobian,
    location_and_information,
)

pytestmark = pytest.mark.usefixtures("float64")

MODES: list[Mode] = ["forward", "reverse"]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("leading", [(), (4,), (2, 4)])
def test_a_jacobian_is_torchs(mode: Mode, leading: tuple[int, ...]) -> None:
    f, at = network(), torch.randn(*leading, 3)
    one = torch.func.jacrev(f)
    expected = torch.stack([one(row) for row in at.reshape(-1, 3)]).reshape(*leading, 5, 3)
    torch.testing.assert_close(jacobian(f, at, mode=mode), expected)


@pytest.mark.parametrize("mode", MODES)
def test_a_jacobian_has_the_gradient_of_second_derivatives(mode: Mode) -> None:
    f, at = network(), torch.randn(4, 3, requires_grad=True)
    inputs = (at, *f.parameters())
    found = torch.autograd.grad(
        jacobian(f, at, mode=mode).square().sum(), inputs, allow_unused=True
    )
    expected = torch.autograd.grad(
        torch.vmap(torch.func.jacrev(f))(at).square().sum(), inputs, allow_unused=True
    )
    assert all(g is not None for g in found[:-1])  # but for the last bias, which J is free of
    for a, b in zip(found[:-1], expected[:-1], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("mode", MODES)
def test_without_gradients_a_jacobian_has_none(mode: Mode) -> None:
    with torch.no_grad():
        assert not jacobian(network(), torch.randn(2, 3), mode=mode).requires_grad


def test_the_jacobian_of_a_constant_is_zero() -> None:
    with torch.no_grad():
        found = jacobian(lambda z: torch.ones(*z.shape[:-1], 2), torch.randn(4, 3), mode="forward")
    torch.testing.assert_close(found, torch.zeros(4, 2, 3))


THETA = torch.tensor([-1.5, 0.2, 0.7], dtype=torch.float64)
GRID = torch.linspace(-200, 200, 400_001, dtype=torch.float64)
UNIT = torch.linspace(0, 1, 100_001, dtype=torch.float64)
BITS = torch.tensor([0.0, 1.0], dtype=torch.float64)

# By name: p(x|θ), the values x, and whether they are summed over (else integrated).
FAMILIES = {
    "normal": (lambda t: dist.Normal(t, 0.7), GRID, False),
    "Laplace": (lambda t: dist.Laplace(t, 0.7), GRID, False),
    "logistic": (lambda t: Logistic(t, 0.7), GRID, False),
    "Student-t": (lambda t: dist.StudentT(5.0, t, 0.7), GRID, False),
    "Bernoulli": (lambda t: dist.Bernoulli(logits=t), BITS, True),
    "grey Bernoulli": (lambda t: GreyBernoulli(logits=t), BITS, True),
    "continuous Bernoulli": (lambda t: ContinuousBernoulli(t), UNIT, False),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_information_is_the_expected_squared_score(family: str) -> None:
    make, x, summed = FAMILIES[family]
    for theta in THETA:
        t = theta.expand_as(x).clone().requires_grad_()
        p: Distribution = make(t)
        log_p = p.log_prob(x)
        (score,) = torch.autograd.grad(log_p.sum(), t)
        values = log_p.detach().exp() * score.square()
        expected = values.sum() if summed else torch.trapezoid(values, x)
        location, information = location_and_information(make(theta))
        torch.testing.assert_close(location, theta)
        torch.testing.assert_close(information, expected, rtol=1e-5, atol=0)


def test_of_a_whole_datum_it_is_that_of_each_value() -> None:
    p = dist.Normal(torch.randn(4, 2, 3), torch.tensor(0.5)).to_event(2)
    location, information = location_and_information(p)
    assert location.shape == (4, 2, 3)
    torch.testing.assert_close(information, torch.full((4, 2, 3), 4.0))


@pytest.mark.parametrize(
    "p",
    [
        dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        DiscretisedLogistic(torch.tensor(0.3), torch.tensor(0.1)),
    ],
)
def test_what_has_no_information_here_is_refused(p: Distribution) -> None:
    with pytest.raises(PairError, match="Fisher information is known"):
        location_and_information(p)
