"""Likelihoods beyond Bernoulli and normal: normalisers, tails, samples from the density."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.integrate import quad
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_vae import (
    VAE,
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    DecodedVariance,
    DiscretisedLogisticLikelihood,
    FixedVariance,
    LaplaceLikelihood,
    Likelihood,
    LogisticLikelihood,
    NormalGuide,
    NormalLikelihood,
    ShapeError,
    StandardNormalPrior,
    StudentTLikelihood,
    fit,
)
from pyro_vae.distributions import DiscretisedLogistic, Logistic
from pyro_vae.evaluation import bits_per_dim
from pyro_vae.nn import LeadingShape
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


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 17.4), (torch.float64, 37.5)])
def test_a_logistic_sample_is_no_outlier_where_the_uniform_one_is_at_an_end(
    dtype: torch.dtype, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 ``torch.rand`` is 0 once in 2²⁴ draws; of as many, −log 2²⁴ = −16.6 is least."""
    p = Logistic(torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype))
    largest = 1 - torch.finfo(dtype).eps / 2
    for uniform, sign in [(0.0, -1), (largest, 1)]:
        monkeypatch.setattr(torch, "rand", partial(torch.full, fill_value=uniform))
        sample = p.sample()
        assert (sign * sample > least - 1.5).all()
        assert (sign * sample < least).all()


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


def constant(outputs: int, value: float) -> nn.Module:
    """A decoder that gives one location whatever z."""
    decoder = nn.Linear(1, outputs)
    nn.init.zeros_(decoder.weight)
    nn.init.constant_(decoder.bias, value)
    return decoder


@torch.no_grad()
@pytest.mark.parametrize("deviation", [0.003, 0.1, 2.0])
def test_bits_a_dimension_are_those_of_the_code(deviation: float) -> None:
    likelihood = DiscretisedLogisticLikelihood(constant(1, 0.43), FixedVariance(deviation**2))
    x = torch.linspace(0, 1, 256)[:, None]
    nats = likelihood(torch.zeros(256, 1)).log_prob(x)
    bits = bits_per_dim(nats, (1,)).numpy()
    # Of the bins between edges half a step from the values, the ends taking the tails.
    density = scipy.stats.logistic(0.43, deviation * math.sqrt(3) / math.pi)
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    below, above = density.cdf(edges), density.sf(edges)
    mass = np.where(below[1:] < 0.5, np.diff(below), -np.diff(above))
    np.testing.assert_allclose(bits, -np.log2(mass), rtol=1e-9)
    assert (2.0**-bits).sum() == pytest.approx(1.0)  # Kraft's equality: no bit is wasted


@torch.no_grad()
@pytest.mark.parametrize("variance", [1e-4, 1.0, 1e8])
def test_two_equal_values_cost_a_bit_a_dimension(variance: float) -> None:
    likelihood = DiscretisedLogisticLikelihood(constant(12, 0.5), FixedVariance(variance), bins=2)
    nats = likelihood(torch.zeros(5, 1)).log_prob(torch.rand(5, 12).round())
    torch.testing.assert_close(bits_per_dim(nats, (3, 4)), torch.ones(5))


@pytest.mark.parametrize("bins", [2, 17, 256, 65536])
def test_a_quantised_value_is_on_the_grid_in_float32(bins: int) -> None:
    x = torch.arange(bins, dtype=torch.float32) / (bins - 1)
    zero, one = torch.zeros((), dtype=torch.float32), torch.ones((), dtype=torch.float32)
    for low, high in [(0.0, 1.0), (-1.0, 1.0), (100.0, 101.0)]:
        p = DiscretisedLogistic(zero, one, bins, low, high)
        assert p.support.check(low + (high - low) * x).all()
        assert p.support.check(p.expand((1000,)).sample()).all()
        assert not p.support.check(torch.tensor([low - 1, high + 1, math.nan])).any()
        assert not p.support.check(torch.tensor([low - 1 / bins, high + 1 / bins])).any()
    assert DiscretisedLogistic(zero, one, bins).support.check(x.double()).all()


@pytest.mark.parametrize("x", [0.5012, 0.498, -1 / 255, 256 / 255])
def test_a_value_between_two_of_the_grid_is_refused(x: float) -> None:
    p = DiscretisedLogistic(torch.tensor(0.5), torch.tensor(0.1))
    with pytest.raises(ValueError, match=r"support.*256 evenly spaced values from 0 to 1"):
        p.log_prob(torch.tensor(x))


def test_fit_says_which_datum_is_off_the_grid() -> None:
    vae = VAE(
        prior=StandardNormalPrior(1),
        likelihood=DiscretisedLogisticLikelihood(nn.Linear(1, 4)),
        guide=NormalGuide(nn.Linear(4, 2)),
    )
    x = torch.randint(256, (20, 4)) / 255
    x[7, 2] = 0.5012
    told = r"256 evenly spaced values from 0 to 1.*in datum 7\."
    with pytest.raises(ValueError, match=told):
        fit(vae, x, epochs=1, progress=False)


@pytest.mark.parametrize("scale", [1e-4, 0.02, 0.5, 30.0])
@pytest.mark.parametrize("loc", [-2.0, 0.0, 0.43, 0.4999, 1.0, 5.0])
def test_moments_are_the_sums_over_the_values(loc: float, scale: float) -> None:
    place = torch.tensor(loc, requires_grad=True)
    width = torch.tensor(scale, requires_grad=True)
    p = DiscretisedLogistic(place, width)
    values = torch.linspace(0, 1, 256)
    mass = p.log_prob(values).exp()
    mean = (values * mass).sum()
    variance = ((values - mean) ** 2 * mass).sum()
    for found, expected in [(p.mean, mean), (p.variance, variance)]:
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)
        torch.testing.assert_close(
            torch.autograd.grad(found, (place, width), retain_graph=True),
            torch.autograd.grad(expected, (place, width), retain_graph=True),
            rtol=1e-7,
            atol=1e-11,
        )


def test_a_small_variance_is_not_lost_in_float32() -> None:
    p = DiscretisedLogistic(torch.tensor(0.995, dtype=torch.float32), torch.tensor(2e-4).float())
    exact = DiscretisedLogistic(torch.tensor(0.995), torch.tensor(2e-4))
    assert p.variance.item() == pytest.approx(exact.variance.item(), rel=1e-3)


class LargestTensor(TorchDispatchMode):
    """The elements of the largest tensor made inside."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.elements = max(self.elements, made.numel())
        return made


@pytest.mark.parametrize("name", ["mean", "variance"])
def test_moments_need_bounded_memory_whatever_the_bins(name: str) -> None:
    loc = torch.rand(50, 784, requires_grad=True)
    p = DiscretisedLogistic(loc, torch.full((50, 784), 0.1))
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with LargestTensor() as largest, saved_tensors_hooks(keep, lambda tensor: tensor):
        getattr(p, name)
    assert largest.elements <= 2**20  # of 10⁷ for all bins at once
    assert sum(kept.values()) <= 4 * loc.numel()  # for the gradient


@pytest.mark.parametrize(
    "options", [{"bins": 1}, {"low": 1.0, "high": 1.0}, {"low": 2.0, "high": 1.0}]
)
def test_bins_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected ≥ 2 bins and low < high"):
        DiscretisedLogisticLikelihood(nn.Linear(2, 3), **options)


# -- the continuous Bernoulli ---------------------------------------------------------------------


@pytest.mark.parametrize("logit", [-100.0, -8.0, -0.01, 0.0, 0.003, 2.0, 15.0, 30.0])
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


# --- what they are made of ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variance", "told"),
    [
        (0.2, r"got 0\.2\. Take FixedVariance\(0\.2\)"),
        (1, r"got 1\. Take FixedVariance\(1\)"),
        (torch.tensor(0.5), r"got tensor\(0\.5.*\)\. Take e\.g\. FixedVariance\(0\.2\)"),
        (FixedVariance, r"got <class .*FixedVariance'>\. Take e\.g\."),
    ],
    ids=str,
)
def test_what_is_no_variance_is_refused(variance: Any, told: str) -> None:
    made = inspect.unwrap(NormalLikelihood.__init__)  # without the type check of the tests
    with pytest.raises(TypeError, match=rf"^variance: expected a Variance; {told}"):
        made(NormalLikelihood.__new__(NormalLikelihood), nn.Linear(2, 3), variance)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(2, 8), nn.Unflatten(1, (2, 2, 2)), nn.ConvTranspose2d(2, 1, 2)),
        nn.Sequential(nn.Linear(2, 8), nn.Unflatten(-1, (2, 2, 2)), nn.BatchNorm2d(2)),
        nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8)),
    ],
)
@pytest.mark.parametrize(
    "make", [*LOCATION_SCALE.values(), BernoulliLikelihood, ContinuousBernoulliLikelihood]
)
def test_a_decoder_of_one_batch_dimension_is_told_of_its_wrapper(
    make: Callable[..., Likelihood], network: nn.Module
) -> None:
    variance = (FixedVariance(1.0),) if make in LOCATION_SCALE.values() else ()
    likelihood, z, x = make(network.double(), *variance), torch.randn(3, 5, 2), torch.rand(5, 8)
    assert likelihood(z[0]).batch_shape == (5,)
    before = [value.clone() for value in network.buffers()]
    told = r"decoder: expected .* any leading shape.*got \[3, 5, 2\].*LeadingShape\(decoder, event_"
    for call in (lambda: likelihood(z), lambda: likelihood.during_inference(z, x)):
        with pytest.raises(ShapeError, match=told):
            call()
    for value, old in zip(network.buffers(), before, strict=True):
        if value.is_floating_point():  # a call that fails is counted by batch normalisation itself
            assert torch.equal(value, old)
    assert network.training
    assert make(LeadingShape(network, 1), *variance)(z).batch_shape == (3, 5)
