"""Likelihoods against closed forms, and where their variance comes from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from pyro_vae import (
    ELBO,
    VAE,
    BernoulliLikelihood,
    DecodedVariance,
    FixedVariance,
    LearnedVariance,
    NormalGuide,
    NormalLikelihood,
    OptimalVariance,
    StandardNormalPrior,
    Variance,
    fit,
    update_statistics,
)
from pyro_vae.distributions import GreyBernoulli
from pyro_vae.objectives import run_particles
from tests.models.goodness import check_masses

pytestmark = pytest.mark.usefixtures("float64")

LOGITS = torch.tensor([-30.0, -2.0, 0.0, 0.5, 40.0], dtype=torch.float64)


# --- Bernoulli ----------------------------------------------------------------------------------


def test_grey_bernoulli_is_the_cross_entropy_on_grey_values() -> None:
    x = torch.rand(100, 5)
    expected = -binary_cross_entropy_with_logits(LOGITS.expand(100, 5), x, reduction="none")
    torch.testing.assert_close(GreyBernoulli(logits=LOGITS).log_prob(x), expected)


@pytest.mark.parametrize("x", [0.0, 1.0])
def test_grey_bernoulli_is_bernoulli_on_binary_values(x: float) -> None:
    value = torch.full((5,), x)
    expected = torch.distributions.Bernoulli(logits=LOGITS).log_prob(value)
    torch.testing.assert_close(GreyBernoulli(logits=LOGITS).log_prob(value), expected)
    p = 1 / (1 + np.exp(-LOGITS[1:4].numpy()))
    scipy_log = scipy.stats.bernoulli.logpmf(x, p)
    np.testing.assert_allclose(GreyBernoulli(logits=LOGITS[1:4]).log_prob(value[1:4]), scipy_log)


def test_grey_bernoulli_is_the_expected_log_mass_of_a_binarised_pixel() -> None:
    p = GreyBernoulli(logits=torch.tensor(0.7))
    zero, one = p.log_prob(torch.tensor(0.0)), p.log_prob(torch.tensor(1.0))
    torch.testing.assert_close(p.log_prob(torch.tensor(0.3)), 0.7 * zero + 0.3 * one)


@pytest.mark.parametrize("x", [-0.01, 1.01, float("nan")])
def test_values_off_the_unit_interval_are_refused(x: float) -> None:
    with pytest.raises(ValueError, match="support"):
        GreyBernoulli(logits=LOGITS).log_prob(torch.full((5,), x))


def test_grey_bernoulli_samples_zeros_and_ones_with_its_mean() -> None:
    samples = GreyBernoulli(logits=torch.tensor(0.7)).expand((50_000,)).sample()
    assert set(samples.unique().tolist()) == {0.0, 1.0}
    # The standard error is √(0.22/50 000) = 0.0021: 6 of them, by chance < 10⁻⁸.
    assert samples.mean().item() == pytest.approx(1 / (1 + math.exp(-0.7)), abs=0.0126)


@torch.no_grad()
def test_samples_of_a_bernoulli_likelihood_have_its_masses() -> None:
    # Of all 2³ images of three pixels. A false alarm once in 10⁶.
    decoder = nn.Linear(2, 3)
    nn.init.zeros_(decoder.weight)
    decoder.bias.copy_(torch.tensor([-2.0, 0.5, 1.5]))
    p = BernoulliLikelihood(decoder)(torch.zeros(2))
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    check_masses(p.log_prob, p.sample((20_000,)), images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("logit", [-5.0, -0.3, 0.0, 4.0])
def test_samples_of_a_grey_bernoulli_have_its_masses(logit: float, dtype: torch.dtype) -> None:
    # A false alarm once in 10⁵ suites.
    p = GreyBernoulli(logits=torch.tensor(logit, dtype=dtype))
    check_masses(p.log_prob, p.sample((20_000,)), torch.tensor([0.0, 1.0], dtype=dtype))


def test_a_bernoulli_likelihood_sums_over_the_pixels_of_an_image() -> None:
    decoder = nn.Sequential(nn.Linear(2, 12), nn.Unflatten(-1, (1, 3, 4)))
    p = BernoulliLikelihood(decoder)(torch.randn(7, 5, 2))
    assert (p.batch_shape, p.event_shape) == ((7, 5), (1, 3, 4))
    x = torch.rand(5, 1, 3, 4)
    logits = p.base_dist.logits
    expected = -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
    torch.testing.assert_close(p.log_prob(x), expected.sum((-3, -2, -1)))


# --- normal -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variance", "value"),
    [
        (None, 1.0),
        (FixedVariance(0.3), 0.3),
        (LearnedVariance(initial=2.0), 2.0),
        (LearnedVariance((3,), initial=2.0), 2.0),
    ],
)
def test_a_normal_likelihood_is_scipys(variance: Variance | None, value: float) -> None:
    likelihood = NormalLikelihood(nn.Linear(2, 3), variance)
    z, x = torch.randn(5, 2), torch.randn(5, 3)
    mean = likelihood.decoder(z).detach().numpy()
    expected = scipy.stats.norm(mean, value**0.5).logpdf(x.numpy()).sum(1)
    np.testing.assert_allclose(likelihood(z).log_prob(x).detach(), expected, rtol=1e-6)
    np.testing.assert_allclose(
        likelihood.during_inference(z, x).log_prob(x).detach(), expected, 1e-6
    )


def test_a_variance_per_dimension_is_each_dimensions_own() -> None:
    variance = LearnedVariance((2,))
    with torch.no_grad():
        variance.log_variance.copy_(torch.tensor([0.1, 4.0]).log())
    p = NormalLikelihood(nn.Linear(2, 2), variance)(torch.randn(5, 2))
    torch.testing.assert_close(p.variance, torch.tensor([0.1, 4.0]).expand(5, 2))


def test_learned_variances_train_to_the_mean_squared_error() -> None:
    """The gradient is zero at σ² = MSE, shared or per dimension."""
    mean, x = torch.randn(50, 3), torch.randn(50, 3)
    for shape, dims in [((), (0, 1)), ((3,), (0,))]:
        variance = LearnedVariance(shape)
        with torch.no_grad():
            variance.log_variance.copy_((x - mean).square().mean(dims).log())
        log_p = torch.distributions.Normal(mean, variance().sqrt()).log_prob(x).sum()
        (gradient,) = torch.autograd.grad(log_p, variance.log_variance)
        torch.testing.assert_close(gradient, torch.zeros(shape), rtol=0, atol=1e-10)


def optimal(decoder: nn.Module | None = None) -> NormalLikelihood:
    return NormalLikelihood(nn.Linear(2, 3) if decoder is None else decoder, OptimalVariance())


def test_with_the_optimal_variance_the_mean_log_likelihood_is_equation_43() -> None:
    likelihood, z, x = optimal(), torch.randn(20, 2), torch.randn(20, 3)
    mse = (x - likelihood.decoder(z)).square().mean().item()
    log_p = likelihood.during_inference(z, x).log_prob(x).mean().item()
    assert log_p == pytest.approx(-3 / 2 * (math.log(2 * math.pi * mse) + 1), rel=1e-12)


def test_the_optimal_variance_makes_the_likelihood_scale_equivariant() -> None:
    """Data and means times c: log p − d·log c for every datum."""
    decoder, scale = nn.Linear(2, 3), 7.0
    scaled = nn.Linear(2, 3)
    with torch.no_grad():
        scaled.weight.copy_(scale * decoder.weight)
        scaled.bias.copy_(scale * decoder.bias)
    z, x = torch.randn(20, 2), torch.randn(20, 3)
    small = optimal(decoder).during_inference(z, x).log_prob(x)
    large = optimal(scaled).during_inference(z, scale * x).log_prob(scale * x)
    torch.testing.assert_close(large, small - 3 * math.log(scale))


def test_the_gradient_through_the_optimal_variance_is_that_with_it_held_at_the_mse() -> None:
    likelihood, z, x = optimal(), torch.randn(20, 2), torch.randn(20, 3)
    weights = list(likelihood.decoder.parameters())
    through = likelihood.during_inference(z, x).log_prob(x).sum()
    mse = (x - likelihood.decoder(z)).square().mean().item()
    held = NormalLikelihood(likelihood.decoder, FixedVariance(mse))(z).log_prob(x).sum()
    torch.testing.assert_close(
        torch.autograd.grad(through, weights), torch.autograd.grad(held, weights)
    )


def optimal_vae() -> VAE:
    return VAE(
        prior=StandardNormalPrior(2), likelihood=optimal(), guide=NormalGuide(nn.Linear(3, 4))
    )


@pytest.mark.parametrize("particles", [1, 4])
def test_in_training_the_optimal_variance_is_over_batch_and_particles(particles: int) -> None:
    vae, x = optimal_vae(), torch.randn(8, 3)
    run = run_particles(vae.model, vae.guide, x, num_particles=particles)
    (z,) = run.latents
    mse = (x - vae.likelihood.decoder(z.value)).square().mean().item()
    mean = run.reconstruction.mean().item()
    assert mean == pytest.approx(-3 / 2 * (math.log(2 * math.pi * mse) + 1), rel=1e-12)


def test_for_evaluation_the_optimal_variance_is_over_the_training_set() -> None:
    vae, x = optimal_vae(), torch.randn(11, 3)
    with torch.no_grad():  # a posterior of no width: σ² does not depend on the draw
        vae.guide.encoder.weight[2:] = 0.0
        vae.guide.encoder.bias[2:] = -40.0
    update_statistics(vae.model, vae.guide, x, batch_size=4)
    vae.eval()
    mse = (x - vae.reconstruct(x)).square().mean()
    torch.testing.assert_close(vae.likelihood.variance(), mse)
    torch.testing.assert_close(vae.likelihood(torch.randn(2, 2)).variance, mse.expand(2, 3))


def test_the_optimal_variance_needs_an_estimate_for_evaluation() -> None:
    vae, x = optimal_vae(), torch.randn(11, 3)
    assert ELBO().loss(vae.model, vae.guide, x) > 0
    vae.eval()
    with pytest.raises(RuntimeError, match=r"OptimalVariance.*update_statistics"):
        ELBO().loss(vae.model, vae.guide, x)


def met_exactly(variance: OptimalVariance) -> VAE:
    """A VAE whose decoder gives zeros, and so meets data of zeros exactly."""
    decoder = nn.Linear(2, 3)
    nn.init.zeros_(decoder.weight)
    nn.init.zeros_(decoder.bias)
    return VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(decoder, variance),
        guide=NormalGuide(nn.Linear(3, 4)),
    )


def test_data_that_are_met_exactly_need_a_least_variance() -> None:
    x, told = torch.zeros(20, 3), r"OptimalVariance: expected .* above zero; got 0.*Give least="
    vae = met_exactly(OptimalVariance())
    with pytest.raises(ValueError, match=told):
        ELBO().loss(vae.model, vae.guide, x)
    with pytest.raises(ValueError, match=told):
        fit(vae, x, epochs=1, progress=False)
    vae.likelihood.variance.squared_error.mean.zero_()
    with pytest.raises(ValueError, match=told):
        vae.eval().generate(2)


def test_with_a_least_variance_they_are_trained_on() -> None:
    vae, x = met_exactly(OptimalVariance(least=0.01)), torch.zeros(20, 3)
    fit(vae, x, epochs=2, progress=False)
    variance = vae.eval().likelihood(torch.randn(5, 2)).variance
    torch.testing.assert_close(variance, torch.full((5, 3), 0.01))
    assert ELBO().loss(vae.model, vae.guide, x) < math.inf


@pytest.mark.parametrize(("least", "is_at_bound"), [(1e-3, False), (1e3, True)])
def test_the_optimal_variance_is_the_greater_of_the_mse_and_the_least(
    least: float, is_at_bound: bool
) -> None:
    """Which is the likelihood's maximum over σ² ≥ least: it falls on both sides of the MSE."""
    mean, x = torch.randn(50, 3, requires_grad=True), torch.randn(50, 3)
    variance = OptimalVariance(least)
    found = variance.during_inference(mean, x)
    assert found.item() == (least if is_at_bound else (x - mean).square().mean().item())
    (gradient,) = torch.autograd.grad(found, mean)
    assert gradient.any() == (not is_at_bound)
    variance.eval().squared_error.mean.fill_(0.2)
    assert variance().item() == max(least, 0.2)


@pytest.mark.parametrize("least", [-1e-9, math.nan, math.inf])
def test_a_least_variance_that_is_none_is_refused(least: float) -> None:
    with pytest.raises(ValueError, match="least: expected a finite number ≥ 0; got"):
        OptimalVariance(least)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("make", [FixedVariance, lambda value: LearnedVariance(initial=value)])
def test_a_variance_that_is_none_is_refused(make: type, value: float) -> None:
    with pytest.raises(ValueError, match="positive, finite"):
        make(value)


def test_a_fixed_variance_is_no_parameter_and_moves_with_the_module() -> None:
    likelihood = NormalLikelihood(nn.Linear(2, 3), FixedVariance(0.3)).to(torch.float32)
    assert not list(likelihood.variance.parameters())
    assert likelihood.variance().dtype == torch.float32


def test_a_decoded_variance_does_not_underflow_to_zero() -> None:
    """As it does in single precision where a latent is far from all that the decoder has seen."""
    outputs = torch.tensor([[0.0, -200.0], [0.0, -1.0]], dtype=torch.float32)
    mean, variance = DecodedVariance().split(outputs)
    assert variance[0] > 0
    torch.testing.assert_close(variance[1], torch.tensor([math.exp(-1)], dtype=torch.float32))
    log_p = torch.distributions.Normal(mean, variance.sqrt()).log_prob(torch.ones(2, 1).float())
    assert log_p.isfinite().all()
