"""Likelihoods beyond Bernoulli and normal: normalisers, tails, samples from the density."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.integrate import quad
from torch import nn

from pyro_vae import (
    ContinuousBernoulliLikelihood,
    DecodedVariance,
    DiscretisedLogisticLikelihood,
    FixedVariance,
    LaplaceLikelihood,
    Likelihood,
    LogisticLikelihood,
    NormalLikelihood,
    ShapeError,
    StudentTLikelihood,
)
from pyro_vae.distributions import DiscretisedLogistic, Logistic
from pyro_vae.evaluation import bits_per_dim
from tests.models.goodness import check_line

pytestmark = pytest.mark.usefixtures("float64")

VARIANCE = 0.6

LOCATION_SCALE: dict[str, Callable[[nn.Module, FixedVariance], Likelihood]] = {
    "normal": NormalLikelihood,
    "Laplace": LaplaceLikelihood,
    "logistic": LogisticLikelihood,
    "Student's t": lambda decoder, variance: StudentTLikelihood(
        decoder, variance, degrees_of_freedom=12.0
    ),
}
over_families = pytest.mark.parametrize("name", LOCATION_SCALE)


def one_value(name: str) -> torch.distributions.Distribution:
    """p(x|z) of a single value with mean 0.3."""
    decoder = nn.Linear(1, 1)
    with torch.no_grad():
        decoder.weight.zero_()
        decoder.bias.fill_(0.3)
    return LOCATION_SCALE[name](decoder, FixedVariance(VARIANCE)).double()(torch.zeros(1))


@over_families
@torch.no_grad()
def test_samples_are_from_the_density_which_integrates_to_one(name: str) -> None:
    torch.manual_seed(0)
    p = one_value(name)
    samples = p.sample((20_000,))[:, 0]
    check_line(lambda x: p.log_prob(x[:, None]), samples, -25.0, 25.0)


@over_families
@torch.no_grad()
def test_mean_and_variance_are_those_asked_for(name: str) -> None:
    p = one_value(name)
    assert p.mean.item() == pytest.approx(0.3)
    assert p.variance.item() == pytest.approx(VARIANCE)
    second, _ = quad(
        lambda x: (x - 0.3) ** 2 * p.log_prob(torch.tensor([x])).exp().item(), -40, 40, limit=200
    )
    assert second == pytest.approx(VARIANCE, rel=1e-4)


@torch.no_grad()
def test_scipy_agrees() -> None:
    x = np.linspace(-3, 3, 7)
    s = math.sqrt(3 * VARIANCE) / math.pi
    pairs = {
        "Laplace": scipy.stats.laplace(0.3, math.sqrt(VARIANCE / 2)),
        "logistic": scipy.stats.logistic(0.3, s),
        "Student's t": scipy.stats.t(12, 0.3, math.sqrt(VARIANCE * 10 / 12)),
    }
    for name, expected in pairs.items():
        found = one_value(name).log_prob(torch.from_numpy(x)[:, None])
        np.testing.assert_allclose(found, expected.logpdf(x), rtol=1e-10)


def test_the_logistic_is_exact_far_out() -> None:
    p = Logistic(torch.tensor(0.0), torch.tensor(1.0))
    x = torch.tensor([-1000.0, -50.0, 50.0, 1000.0])
    torch.testing.assert_close(p.log_prob(x), -x.abs())
    torch.testing.assert_close(p.icdf(p.cdf(torch.tensor([-9.0, 0.5, 7.0]))),
                               torch.tensor([-9.0, 0.5, 7.0]))  # fmt: skip
    assert p.entropy().item() == pytest.approx(scipy.stats.logistic.entropy())


# -- quantised data -------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.5, 30.0])
@pytest.mark.parametrize("loc", [-2.0, 0.0, 0.43, 1.0, 5.0])
def test_the_masses_of_all_values_sum_to_one(loc: float, scale: float) -> None:
    values = torch.linspace(0, 1, 256)
    p = DiscretisedLogistic(torch.tensor(loc), torch.tensor(scale))
    log_mass = p.log_prob(values)
    assert log_mass.isfinite().all()
    assert log_mass.exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_a_mass_is_the_integral_of_the_density_over_its_bin() -> None:
    density = scipy.stats.logistic(0.4, 0.05)
    p = DiscretisedLogistic(torch.tensor(0.4), torch.tensor(0.05), bins=11, low=-1.0, high=1.0)
    edges = np.concatenate([[-np.inf], np.linspace(-0.9, 0.9, 10), [np.inf]])
    expected = np.diff(density.cdf(edges))
    found = p.log_prob(torch.linspace(-1, 1, 11)).exp()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300)


def test_the_tails_have_values_and_gradients_where_the_difference_is_zero() -> None:
    loc = torch.zeros((), requires_grad=True)
    x = torch.tensor([0.25, 0.5, 0.75])
    found = DiscretisedLogistic(loc, torch.tensor(1e-3), bins=5).log_prob(x)
    # The nearer edge is all that counts: log σ(−(x − 1/8)/s).
    torch.testing.assert_close(found, -(x - 0.125) / 1e-3)
    (gradient,) = torch.autograd.grad(found.sum(), loc)
    assert gradient.item() == pytest.approx(3 / 1e-3)


def test_rounded_samples_have_the_masses() -> None:
    torch.manual_seed(0)
    p = DiscretisedLogistic(torch.tensor(0.7), torch.tensor(0.15), bins=6)
    samples = p.sample((20_000,))
    index = (samples * 5).round().long()
    torch.testing.assert_close(samples, index / 5)
    counts = torch.bincount(index, minlength=6).numpy()
    expected = p.log_prob(torch.linspace(0, 1, 6)).exp().numpy() * len(samples)
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-6  # a false alarm once in 10⁶
    assert p.mean.item() == pytest.approx(samples.mean().item(), abs=0.02)
    assert p.variance.item() == pytest.approx(samples.var().item(), abs=0.01)


def test_bits_a_dimension_are_those_of_the_code() -> None:
    # A uniform mass on 256 values costs 8 bits, whatever the shape.
    likelihood = DiscretisedLogisticLikelihood(nn.Linear(1, 12), FixedVariance(1e8))
    with torch.no_grad():
        likelihood.decoder.weight.zero_()
        nats = likelihood(torch.zeros(1, 1)).log_prob(torch.full((1, 12), 100 / 255))
    uniform = -8 * math.log(2) * 12
    assert bits_per_dim(uniform, (3, 4)) == pytest.approx(8.0)
    assert bits_per_dim(nats, (12,)).item() > 8.0  # the ends take most of it


@pytest.mark.parametrize(
    "options", [{"bins": 1}, {"low": 1.0, "high": 1.0}, {"low": 2.0, "high": 1.0}]
)
def test_bins_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected ≥ 2 bins and low < high"):
        DiscretisedLogisticLikelihood(nn.Linear(2, 3), **options)


# -- the continuous Bernoulli ---------------------------------------------------------------------


@pytest.mark.parametrize("logit", [-8.0, -0.01, 0.0, 0.003, 2.0, 15.0])
@torch.no_grad()
def test_the_continuous_bernoulli_is_a_density_on_the_unit_interval(logit: float) -> None:
    torch.manual_seed(0)
    decoder = nn.Linear(1, 1)
    decoder.weight.zero_()
    decoder.bias.fill_(logit)
    p = ContinuousBernoulliLikelihood(decoder).double()(torch.zeros(1))
    samples = p.sample((20_000,))[:, 0]
    check_line(lambda x: p.log_prob(x[:, None]), samples, 0.0, 1.0)
    assert samples.mean().item() == pytest.approx(p.mean.item(), abs=0.02)


# -- the decoder's variance -----------------------------------------------------------------------


def test_a_decoded_variance_is_the_second_half_of_the_outputs() -> None:
    decoder = nn.Linear(2, 6)
    likelihood = NormalLikelihood(decoder, DecodedVariance(least=0.01))
    z, x = torch.randn(5, 2), torch.randn(5, 3)
    mean, log_variance = decoder(z).chunk(2, -1)
    expected = scipy.stats.norm(
        mean.detach(), (log_variance.exp() + 0.01).sqrt().detach()
    ).logpdf(x).sum(-1)  # fmt: skip
    for p in (likelihood(z), likelihood.during_inference(z, x)):
        np.testing.assert_allclose(p.log_prob(x).detach(), expected)


def test_images_have_means_and_variances_along_a_dimension_of_choice() -> None:
    mean, variance = DecodedVariance(dim=-3).split(torch.zeros(4, 2, 8, 8))
    assert mean.shape == variance.shape == (4, 1, 8, 8)


def test_an_odd_number_of_outputs_is_refused() -> None:
    likelihood = NormalLikelihood(nn.Linear(2, 5), DecodedVariance())
    with pytest.raises(ShapeError, match=r"twice the data's outputs.*got 5"):
        likelihood(torch.zeros(1, 2))
    with pytest.raises(RuntimeError, match="through split"):
        DecodedVariance()()
    with pytest.raises(ValueError, match="least"):
        DecodedVariance(least=-1.0)


@pytest.mark.parametrize("degrees", [2.0, 0.0, math.inf, math.nan])
def test_a_students_t_needs_a_variance(degrees: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number > 2"):
        StudentTLikelihood(nn.Linear(2, 3), degrees_of_freedom=degrees)
