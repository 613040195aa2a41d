"""The continuous Bernoulli at any logit and in either precision: a density, its moments, samples.

Expected values are quadratures in float64: Gauss and Legendre's rule on 400 panels of 20 nodes,
which e^{xℓ} meets to 14 digits for |ℓ| ≤ 1000.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.distributions import ContinuousBernoulli
from tests.models.goodness import check_line

LOGITS = [0.0, 1e-8, 1e-4, -1e-4, 0.02, 0.499, 0.501, -0.501, 3.0, -17.0, 30.0, -30.0, 100.0,
          -100.0, 1000.0, -1000.0]  # fmt: skip
over_logits = pytest.mark.parametrize("logit", LOGITS)
over_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Relative: of values that are of order one, and of variances."""

_PANELS = 400


def quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes on [0, 1] and their weights."""
    node, weight = np.polynomial.legendre.leggauss(20)
    x = (np.arange(_PANELS)[:, None] + (node + 1) / 2).ravel() / _PANELS
    return x, np.tile(weight / 2 / _PANELS, _PANELS)


X, WEIGHT = quadrature()


def density(logit: float) -> NDArray[np.float64]:
    """e^{xℓ} over its integral, at the nodes."""
    unnormalised = np.exp((X - (logit > 0)) * logit)
    return unnormalised / (WEIGHT * unnormalised).sum()


def mean(logit: float) -> float:
    """From the end where the mass is, so that no digit is lost: 1/1000 from 1 for ℓ = 1000."""
    end = float(logit > 0)
    return end + float((WEIGHT * (X - end) * density(logit)).sum())


def of(logit: float, dtype: torch.dtype) -> ContinuousBernoulli:
    return ContinuousBernoulli(torch.tensor(logit, dtype=dtype))


@over_dtypes
@over_logits
def test_the_density_integrates_to_one(logit: float, dtype: torch.dtype) -> None:
    x = torch.from_numpy(X).to(dtype)
    found = of(logit, dtype).log_prob(x).exp().double().numpy()
    # Of nodes that are rounded, by 3·10⁻⁸ in float32, where the density has a slope of ℓ.
    tolerance = TOLERANCE[dtype] * max(1.0, abs(logit) / 100)
    assert (WEIGHT * found).sum() == pytest.approx(1.0, abs=tolerance)


@over_dtypes
@over_logits
def test_log_prob_is_that_of_the_quadrature(logit: float, dtype: torch.dtype) -> None:
    ends = np.array([0.0, 0.25, 0.5, 1.0])
    end = float(logit > 0)
    unnormalised = (WEIGHT * np.exp((X - end) * logit)).sum()
    expected = (ends - end) * logit - np.log(unnormalised)
    found = of(logit, dtype).log_prob(torch.from_numpy(ends).to(dtype))
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@over_dtypes
@over_logits
def test_mean_and_variance_are_those_of_the_quadrature(logit: float, dtype: torch.dtype) -> None:
    p = of(logit, dtype)
    assert p.mean.dtype == p.variance.dtype == dtype
    assert p.mean.item() == pytest.approx(mean(logit), rel=TOLERANCE[dtype])
    expected = (WEIGHT * (X - mean(logit)) ** 2 * density(logit)).sum()
    assert p.variance.item() == pytest.approx(expected, rel=TOLERANCE[dtype])


@over_dtypes
@over_logits
def test_the_gradient_is_x_minus_the_mean(logit: float, dtype: torch.dtype) -> None:
    at = torch.tensor(logit, dtype=dtype, requires_grad=True)
    x = torch.tensor([0.0, 0.3, 1.0], dtype=dtype)
    for point in x:
        (found,) = torch.autograd.grad(ContinuousBernoulli(at).log_prob(point), at)
        expected = point.double().item() - mean(logit)
        assert found.item() == pytest.approx(expected, rel=1e-3, abs=TOLERANCE[dtype])


@over_dtypes
@over_logits
def test_moments_and_samples_have_finite_gradients(logit: float, dtype: torch.dtype) -> None:
    at = torch.tensor(logit, dtype=dtype, requires_grad=True)
    p = ContinuousBernoulli(at)
    u = torch.tensor([0.0, 1e-30, 1e-3, 0.5, 1 - 1e-6, 1.0], dtype=dtype)
    (slope,) = torch.autograd.grad(p.mean, at, retain_graph=True)
    assert slope.item() == pytest.approx(p.variance.item(), rel=20 * TOLERANCE[dtype])
    for value in (p.variance, p.entropy(), p.cdf(u), p.icdf(u)):
        assert value.isfinite().all()
        (gradient,) = torch.autograd.grad(value.sum(), at, retain_graph=True)
        assert gradient.isfinite()


@over_dtypes
@over_logits
def test_a_sample_moves_with_the_logit_as_implicit_differentiation_has_it(
    logit: float, dtype: torch.dtype
) -> None:
    """dx/dℓ = −∂F/∂ℓ / p = ∫_0^x (m − t) p(t) dt / p(x) for F(x) = u held."""
    at = torch.tensor(logit, dtype=dtype, requires_grad=True)
    x = ContinuousBernoulli(at).icdf(torch.tensor(0.3, dtype=dtype))
    (found,) = torch.autograd.grad(x, at)
    below = x.item() * X  # the same nodes on [0, x]
    ratio = np.exp((below - x.item()) * logit)  # p(t)/p(x)
    expected = x.item() * (WEIGHT * (mean(logit) - below) * ratio).sum()
    assert found.item() == pytest.approx(expected, rel=1e-3 if dtype == torch.float32 else 1e-9)


@over_dtypes
@over_logits
def test_icdf_undoes_cdf(logit: float, dtype: torch.dtype) -> None:
    p = of(logit, dtype)
    u = torch.tensor([0.0, 1e-6, 0.01, 0.5, 0.99, 1.0], dtype=dtype)
    x = p.icdf(u)
    assert (x[0], x[-1]) == (0.0, 1.0)
    assert (x.diff() > 0).all()
    # A rounding of x, at most 6·10⁻⁸ in float32, is ℓ times that in u.
    tolerance = TOLERANCE[dtype] * max(1.0, abs(logit) / 10)
    torch.testing.assert_close(p.cdf(x), u, rtol=0, atol=tolerance)


@pytest.mark.parametrize("logit", [0.0, 1e-4, 3.0, 30.0, -30.0, 100.0, -100.0])
def test_samples_are_from_the_density(logit: float) -> None:
    torch.manual_seed(0)
    samples = of(logit, torch.float32).expand((20_000,)).sample()
    assert samples.dtype == torch.float32
    check_line(of(logit, torch.float64).log_prob, samples, 0.0, 1.0)  # fails by chance once in 10⁶


@pytest.mark.parametrize("logit", [40.0, -40.0])
def test_a_uniform_zero_is_no_outlier(logit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", torch.zeros)
    assert 0 <= of(logit, torch.float32).sample() <= 1
    # The least of 2²⁴ draws is that many-th of the mass away: log 2²⁵/40 = 0.43 from the end.
    assert (of(40.0, torch.float32).sample() - 1).abs() < 0.45


def test_entropy_is_the_mean_surprise() -> None:
    for logit in LOGITS:
        p = density(logit)
        with np.errstate(divide="ignore"):
            surprise = np.where(p > 0, -np.log(p), 0.0)
        expected = (WEIGHT * p * surprise).sum()
        assert of(logit, torch.float64).entropy().item() == pytest.approx(expected, abs=1e-9)


def test_it_is_a_fixed_graph() -> None:
    def step(logits: Tensor, x: Tensor) -> Tensor:
        logits = logits.detach().requires_grad_()
        p = ContinuousBernoulli(logits, validate_args=False)
        (gradient,) = torch.autograd.grad((p.log_prob(x) + p.mean + p.rsample()).sum(), logits)
        return gradient

    logits, x = torch.tensor(LOGITS), torch.rand(len(LOGITS))
    graph = make_fx(step)(torch.zeros(len(LOGITS)), x)
    torch.manual_seed(0)
    expected = step(logits, x)
    torch.manual_seed(0)
    torch.testing.assert_close(graph(logits, x), expected)


def test_it_expands_and_refuses_what_is_off_the_unit_interval() -> None:
    p = of(2.0, torch.float32).expand((3, 2))
    assert p.batch_shape == p.sample().shape == p.mean.shape == (3, 2)
    assert p.rsample((4,)).shape == (4, 3, 2)
    for x in (-0.01, 1.01, float("nan")):
        with pytest.raises(ValueError, match="support"):
            p.log_prob(torch.full((3, 2), x))
    with pytest.raises(ValueError, match="logits"):
        ContinuousBernoulli(torch.tensor(float("nan")))
