"""Evaluation: closed forms, errors that are what they say, and nothing that it changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

import pyro_vae.evaluation.evidence
from pyro_vae import (
    ELBO,
    IWAE,
    VAE,
    BernoulliLikelihood,
    ConstantNormalGuide,
    FixedPrior,
    FixedVariance,
    FloatingPrior,
    NonFiniteError,
    NormalGuide,
    NormalLikelihood,
    OptimalVariance,
    PairError,
    StandardNormalPrior,
    UniformGuide,
    update_statistics,
)
from pyro_vae.evaluation import (
    active_units,
    annealed_log_evidence,
    bidirectional_log_evidence,
    bound_terms,
    closed_form_evidence,
    decoder_jacobian,
    gradient_snr,
    grid_log_evidence,
    information,
    information_metric,
    log_evidence,
    log_weights,
    optimal_prior,
    posterior_moments,
    posterior_precision,
    quadrature_log_evidence,
    reconstruction_error,
)
from pyro_vae.testing import LinearGaussian, linear_gaussian
from tests.objectives.pairs import global_pair, scalar_pair

pytestmark = pytest.mark.usefixtures("float64")


def exact_pair(num_data: int = 20) -> LinearGaussian:
    return linear_gaussian(num_data=num_data, dtype=torch.float64)


def wrong_pair(num_data: int = 20) -> LinearGaussian:
    return linear_gaussian(num_data=num_data, orthogonal=False, dtype=torch.float64)


# --- log evidence ---------------------------------------------------------------------------------


def test_the_log_evidence_of_a_wrong_guide_is_exact_within_its_error() -> None:
    pair = wrong_pair(200)
    estimate = log_evidence(pair.model, pair.guide, pair.x, num_samples=4000)
    gap = estimate.value - pair.log_evidence(pair.x)
    # The mean of 200 independent estimates, 5 of its errors: a false alarm once in 10⁶.
    assert abs(gap.mean().item()) < 5 * estimate.mean_error()
    assert estimate.mean() == pytest.approx(pair.log_evidence(pair.x).mean().item(), abs=0.01)
    # z² has mean 1 and standard deviation √2 a datum, so the mean over 200 is 1 ± 0.1: 5 of these,
    # widened as the weights' tails make the errors of single data uncertain.
    assert (gap / estimate.error).square().mean().item() == pytest.approx(1.0, abs=0.7)


def test_the_error_falls_with_the_root_of_the_number_of_samples() -> None:
    pair = wrong_pair(50)
    few, many = (
        log_evidence(pair.model, pair.guide, pair.x, num_samples=k).error.mean()
        for k in (500, 8000)
    )
    # Both means over 50 data are good to a few per cent: 25 % is more than five of these.
    assert (few / many).item() == pytest.approx(4.0, rel=0.25)


def test_the_mean_error_is_that_of_independent_data() -> None:
    pair = wrong_pair()
    estimate = log_evidence(pair.model, pair.guide, pair.x, num_samples=100)
    expected = estimate.error.square().sum().sqrt() / 20
    assert estimate.mean_error() == pytest.approx(expected.item())


@pytest.mark.parametrize("memory", [7, 64, 10**6])
def test_passes_of_any_size_give_the_same_estimate(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact pair: every pass must give log p(x), in the order of the data."""
    monkeypatch.setattr(pyro_vae.evaluation.evidence, "_RUN", memory)
    pair = exact_pair()
    estimate = log_evidence(pair.model, pair.guide, pair.x, num_samples=10)
    torch.testing.assert_close(estimate.value, pair.log_evidence(pair.x))
    assert log_weights(pair.model, pair.guide, pair.x, 10).shape == (10, 20)


@pytest.mark.parametrize("memory", [64, 500])
def test_small_passes_of_a_wrong_guide_are_exact_within_their_error(
    memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyro_vae.evaluation.evidence, "_RUN", memory)
    pair = wrong_pair()
    estimate = log_evidence(pair.model, pair.guide, pair.x, num_samples=200)
    gap = estimate.value - pair.log_evidence(pair.x)
    # 6 errors of the mean, one for the bias of half the squared error: a false alarm < 10⁻⁶.
    assert abs(gap.mean().item()) < 6 * estimate.mean_error()
    weights = log_weights(pair.model, pair.guide, pair.x, 200)
    assert len(weights[:, 0].unique()) == 200  # no pass repeats another's draws


def test_the_seed_decides_the_estimate() -> None:
    pair = wrong_pair()
    one, same, other = (
        log_evidence(pair.model, pair.guide, pair.x, num_samples=20, seed=seed).value
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_one_sample_has_no_error_and_is_refused() -> None:
    pair = exact_pair()
    with pytest.raises(ValueError, match="num_samples"):
        log_evidence(pair.model, pair.guide, pair.x, num_samples=1)


# --- terms of the bound ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bias", "term"),
    [(float("nan"), r"log p\(x"), (float("inf"), r"log p\(x"), (1e200, r"log p\(x")],
)
def test_a_log_weight_that_is_not_finite_names_datum_and_term(bias: float, term: str) -> None:
    pair = exact_pair()
    with torch.no_grad():
        pair.likelihood.decoder.bias.fill_(bias)
    with pyro.validation_enabled(False), pytest.raises(NonFiniteError, match=r"datum 0 .*log p\(x"):
        log_evidence(pair.model, pair.guide, pair.x, num_samples=5)


def test_a_scale_on_some_sites_is_no_density_and_is_refused() -> None:
    """An annealed KL by ``poutine.scale`` would come out as a log p(x) that is too large."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            with pyro.poutine.scale(scale=0.1):
                z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1), pyro.poutine.scale(scale=0.1):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    with pytest.raises(PairError, match="expected every site scaled alike"):
        log_evidence(model, guide, torch.zeros(3))


def normal_model(x: Tensor) -> None:
    """z ~ N(0, 1), x ~ N(z, 1): log p(x) is that of N(0, 2)."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide_of(posterior: Callable[[Tensor], Any]) -> Callable[[Tensor], None]:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", posterior(x))

    return guide


def spike_and_slab(x: Tensor) -> Any:
    return dist.MaskedMixture(x > 0, dist.Delta(x), dist.Normal(x, 1.0))


MASSES: dict[str, Callable[[Tensor], Any]] = {
    "Delta": dist.Delta,
    "transformed Delta": lambda x: dist.TransformedDistribution(
        dist.Delta(x), [dist.transforms.AffineTransform(0.0, 0.5)]
    ),
    "part Delta": spike_and_slab,
    "Bernoulli": lambda x: dist.Bernoulli(logits=x),
}


@pytest.mark.parametrize("posterior", MASSES.values(), ids=MASSES.keys())
def test_a_guide_without_a_density_has_no_weights(posterior: Callable[[Tensor], Any]) -> None:
    """By p(x, z)/1 the evidence came out at any value, with no error at all."""
    guide, x = guide_of(posterior), torch.linspace(-1.0, 1.0, 5)
    for evaluate in (
        lambda: log_weights(normal_model, guide, x, 10),
        lambda: log_evidence(normal_model, guide, x, num_samples=10),
        lambda: information(normal_model, guide, x),
    ):
        with (
            pyro.validation_enabled(False),
            pytest.raises(PairError, match=r"site 'z': expected a guide with a density.* Take a"),
        ):
            evaluate()


def carrying(x: Tensor) -> None:
    """The posterior by way of an auxiliary sample, as Pyro's autoguides have it."""
    with pyro.plate("data", len(x), dim=-1):
        u = pyro.sample("u", dist.Normal(x, 2**0.5), infer={"is_auxiliary": True})
        volume = torch.full_like(u, math.log(2.0))  # of z = u/2
        pyro.sample("z", dist.Delta(u / 2, log_density=volume))


def test_a_delta_that_carries_an_auxiliary_sample_over_has_a_density() -> None:
    x = torch.linspace(-1.0, 1.0, 5)
    found = log_evidence(normal_model, carrying, x, num_samples=10)
    torch.testing.assert_close(found.value, dist.Normal(0.0, 2**0.5).log_prob(x))
    autoguide = AutoNormal(normal_model)
    autoguide(x)
    assert log_weights(normal_model, autoguide, x, 1).isfinite().all()


def test_one_auxiliary_sample_gives_no_density_to_two_latents() -> None:
    def model(x: Tensor) -> None:
        normal_model(x)
        with pyro.plate("others", len(x), dim=-1):
            pyro.sample("y", dist.Normal(torch.zeros(len(x)), 1.0))

    def guide(x: Tensor) -> None:
        carrying(x)
        with pyro.plate("others", len(x), dim=-1):
            pyro.sample("y", dist.Delta(x))

    with pytest.raises(PairError, match="expected a guide with a density"):
        log_weights(model, guide, torch.zeros(3), 10)


@pytest.mark.parametrize(
    ("prior", "value"),
    [(dist.Bernoulli(torch.full((3,), 0.25)), 1.0), (dist.Delta(torch.ones(3)), 1.0)],
    ids=["discrete", "Delta"],
)
def test_a_delta_where_the_model_has_a_mass_has_weights(prior: Any, value: float) -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.zeros(3)
    found = log_weights(model, guide_of(lambda x: dist.Delta(x + value)), x, 10)
    expected = prior.log_prob(x + value) + dist.Normal(value, 1.0).log_prob(x)
    torch.testing.assert_close(found, expected.expand(10, 3))


def unplated(x: Tensor) -> None:
    z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0).to_event(1))
    pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def unplated_guide(x: Tensor) -> None:
    pyro.sample("z", dist.Normal(x / 2, 0.5**0.5).to_event(1))


NOT_PER_DATUM: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "no plate": (unplated, unplated_guide),
    "a site of all data": global_pair(),
    "a subsample": scalar_pair(size=1),
}


@pytest.mark.parametrize("num_samples", [10, 1000, 5000])  # 50, 4 and 1 data at once
@pytest.mark.parametrize(("model", "guide"), NOT_PER_DATUM.values(), ids=NOT_PER_DATUM.keys())
def test_a_pair_without_a_weight_for_each_datum_is_refused(
    model: Callable[..., Any], guide: Callable[..., Any], num_samples: int
) -> None:
    """It had one joint evidence a batch, however many data the batches had."""
    x = torch.randn(50)
    told = r"a log-weight for each of \d+ data; got [12]\. Put every sample site"
    with pytest.raises(PairError, match=told):
        log_evidence(model, guide, x, num_samples=num_samples)
    if num_samples < 5000:
        with pytest.raises(PairError, match=told):
            log_weights(model, guide, x[:4], num_samples)


def test_two_data_that_are_tried_first_change_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = wrong_pair(3)
    found = log_evidence(pair.model, pair.guide, pair.x, num_samples=5000).value
    monkeypatch.setattr(pyro_vae.evaluation.evidence, "_check_weights", lambda *_: None)
    torch.testing.assert_close(
        log_evidence(pair.model, pair.guide, pair.x, num_samples=5000).value, found, rtol=0, atol=0
    )


def test_covariates_of_each_datum_are_columns_of_the_data() -> None:
    """As the error of a closure over them says."""

    def model(x: Tensor) -> None:
        covariate, y = x.unbind(-1)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(covariate, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=y)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.mean(-1), 0.5**0.5))

    x = torch.randn(30, 2)
    exact = dist.Normal(x[:, 0], 2**0.5).log_prob(x[:, 1])
    plain = log_evidence(model, guide, x, num_samples=1000)
    annealed = annealed_log_evidence(model, guide, x, num_temperatures=2)
    for found in (plain, annealed):
        torch.testing.assert_close(found.value, exact)


def test_some_samples_of_no_weight_are_no_error() -> None:
    """A prior on [0, 1]² and a guide beyond it: the weights there are zero."""
    pair = exact_pair()
    low = torch.zeros(2)
    prior = FixedPrior(pyro.distributions.Uniform, low=low, high=1.0)
    wide = UniformGuide(nn.Linear(5, 4))
    with torch.no_grad():
        wide.encoder.weight.zero_()
        wide.encoder.bias.copy_(torch.tensor([0.5, 0.5, 1.0, 1.0]))
    vae = VAE(prior=prior, likelihood=pair.likelihood, guide=wide).double()
    grid = (torch.arange(200) + 0.5) / 200
    z = torch.cartesian_prod(grid, grid)
    exact = vae.likelihood(z[:, None]).log_prob(pair.x).exp().mean(0).log()
    with pyro.validation_enabled(False):
        found = log_evidence(vae.model, vae.guide, pair.x, num_samples=20_000)
    # 20 data at 5 standard errors: a false alarm once in 10⁵.
    assert ((found.value - exact).abs() < 5 * found.error + 1e-3).all()


def test_the_terms_of_the_bound_are_those_of_the_linear_gaussian() -> None:
    pair = wrong_pair()
    terms = bound_terms(pair.model, pair.guide, pair.x, num_samples=4000)
    q = pair.guide.posterior(pair.x)
    kl = 0.5 * (q.variance + q.mean.square() - 1 - q.variance.log()).sum(-1)
    torch.testing.assert_close(terms.kl, kl.detach())
    # 20 data, each draw's standard deviation below 4 nats: 5 errors of 4000 draws are 0.32.
    assert (terms.bound - pair.optimal_bound(pair.x)).abs().max() < 0.32
    # Their mean has an error √20 times smaller.
    assert (terms.bound - pair.optimal_bound(pair.x)).mean().abs() < 0.07
    expected = {"bound": terms.bound, "reconstruction": terms.reconstruction, "kl": terms.kl}
    assert terms.mean() == pytest.approx({k: v.mean().item() for k, v in expected.items()})
    torch.testing.assert_close(terms.bound, terms.reconstruction - terms.kl)


def test_the_bound_of_a_pair_with_plates_in_plates_is_summed_over_the_inner_one() -> None:
    """Three words a datum, each of its own latent with the exact posterior for its guide, beside a
    latent of the datum that says nothing."""

    def of_datum(x: Tensor) -> None:
        pyro.sample("t", dist.Normal(torch.zeros(len(x)), 1.0))

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            of_datum(x)
            with pyro.plate("words", 3, dim=-2):
                z = pyro.sample("z", dist.Normal(torch.zeros(3, len(x)), 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            of_datum(x)
            with pyro.plate("words", 3, dim=-2):
                pyro.sample("z", dist.Normal(x.T / 2, 0.5**0.5))

    x = torch.arange(12.0).reshape(4, 3) / 4
    exact = dist.Normal(0.0, 2**0.5).log_prob(x).sum(1)
    options: dict[str, Any] = {"num_samples": 7, "analytic_kl": False}
    terms = bound_terms(model, guide, x, max_plate_nesting=2, **options)
    torch.testing.assert_close(terms.bound, exact)
    with pytest.raises(PairError, match="max_plate_nesting"):
        bound_terms(model, guide, x, **options)


def test_with_a_sampled_kl_at_the_exact_posterior_the_bound_is_the_evidence() -> None:
    pair = exact_pair()
    terms = bound_terms(pair.model, pair.guide, pair.x, analytic_kl=False)
    torch.testing.assert_close(terms.bound, pair.log_evidence(pair.x))


def test_batches_of_any_size_keep_the_order_of_the_data() -> None:
    pair = exact_pair()
    terms = bound_terms(pair.model, pair.guide, pair.x, analytic_kl=False, batch_size=7)
    torch.testing.assert_close(terms.bound, pair.log_evidence(pair.x))


def test_a_pair_without_a_closed_kl_is_refused_unless_it_is_sampled() -> None:
    class StudentGuide(NormalGuide):
        def posterior(self, x: Tensor) -> Any:
            q = super().posterior(x)
            return pyro.distributions.StudentT(5.0, q.mean, q.stddev).to_event(1)

    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(nn.Linear(2, 3)),
        guide=StudentGuide(nn.Linear(3, 4)),
    )
    x = torch.randn(5, 3)
    with pytest.raises(PairError, match="closed form"):
        bound_terms(vae.model, vae.guide, x)
    assert bound_terms(vae.model, vae.guide, x, analytic_kl=False).bound.shape == (5,)


# --- active units, reconstruction, moments --------------------------------------------------------


def test_a_dead_unit_is_counted_as_dead() -> None:
    encoder = nn.Linear(3, 6)
    with torch.no_grad():
        encoder.weight[1] = 0.0  # the mean of latent 1 is a constant
    x = torch.randn(100, 3)
    units = active_units(NormalGuide(encoder), x)
    assert units.active.tolist() == [True, False, True]
    assert units.count == 2
    expected = (x @ encoder.weight[:3].T).var(0)
    torch.testing.assert_close(units.variance, expected.detach())


def test_the_threshold_of_an_active_unit_may_be_chosen() -> None:
    guide = ConstantNormalGuide(nn.Identity())
    x = torch.randn(100, 2) * torch.tensor([0.05, 1.0])
    assert active_units(guide, x).active.tolist() == [False, True]
    assert active_units(guide, x, threshold=1e-4).count == 2


def test_of_a_posterior_or_prior_without_moments_active_units_are_unknown() -> None:
    x = torch.randn(50)
    heavy = active_units(guide_of(lambda x: dist.HalfCauchy(x.exp())), x)
    of_prior = active_units(guide_of(lambda x: dist.LogNormal(x, 0.5)), x, prior_variance=math.inf)
    for found in (heavy, of_prior):
        assert found.unknown.all()
        assert found.count == 0
    assert not active_units(exact_pair().guide, exact_pair().x).unknown.any()


def test_the_reconstruction_error_of_a_linear_pair_is_the_residuals_mean_square() -> None:
    pair = exact_pair()
    mean = pair.posterior(pair.x).mean
    expected = (pair.x - mean @ pair.weight.T - pair.bias).square().mean(1)
    for batch_size in (1000, 7):
        error = reconstruction_error(pair.model, pair.guide, pair.x, batch_size=batch_size)
        torch.testing.assert_close(error, expected)


def test_the_reconstruction_error_of_images_is_over_pixels() -> None:
    decoder = nn.Sequential(nn.Linear(2, 4), nn.Unflatten(-1, (1, 2, 2)))
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=BernoulliLikelihood(decoder),
        guide=NormalGuide(encoder),
    )
    x = torch.rand(5, 1, 2, 2)
    expected = (x - vae.reconstruct(x)).square().flatten(1).mean(1)
    torch.testing.assert_close(reconstruction_error(vae.model, vae.guide, x), expected)


def test_posterior_moments_are_the_guides() -> None:
    pair = exact_pair()
    mean, variance = posterior_moments(pair.guide, pair.x, batch_size=7)
    exact = pair.posterior(pair.x)
    torch.testing.assert_close(mean, exact.mean)
    torch.testing.assert_close(variance, exact.variance)


# --- nothing changes ------------------------------------------------------------------------------


def everything() -> tuple[VAE, Tensor]:
    """A VAE with all that could be changed: estimates, dropout, batch normalisation, gradients."""
    vae = VAE(
        prior=FloatingPrior(2),
        likelihood=NormalLikelihood(
            nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3)),
            OptimalVariance(),
        ),
        guide=NormalGuide(nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 4))),
    )
    x = torch.randn(12, 3)
    update_statistics(vae.model, vae.guide, x)
    ELBO()(vae.model, vae.guide)(x).backward()
    vae.train()
    vae.likelihood.decoder.eval()  # a mode of its own
    return vae, x


EVALUATIONS: dict[str, Callable[[VAE, Tensor], object]] = {
    "bound_terms": lambda vae, x: bound_terms(vae.model, vae.guide, x, num_samples=2),
    "log_evidence": lambda vae, x: log_evidence(vae.model, vae.guide, x, num_samples=5),
    "annealed_log_evidence": lambda vae, x: annealed_log_evidence(
        vae.model, vae.guide, x, num_chains=2, num_temperatures=2
    ),
    "bidirectional_log_evidence": lambda vae, x: bidirectional_log_evidence(
        vae.model, vae.guide, x, num_chains=2, num_temperatures=2
    ),
    "quadrature_log_evidence": lambda vae, x: quadrature_log_evidence(vae.model, x[:2], cells=8),
    "grid_log_evidence": lambda vae, x: grid_log_evidence(vae.prior, vae.likelihood, x, cells=8),
    "information": lambda vae, x: information(vae.model, vae.guide, x),
    "active_units": lambda vae, x: active_units(vae.guide, x),
    "reconstruction_error": lambda vae, x: reconstruction_error(vae.model, vae.guide, x),
    "posterior_moments": lambda vae, x: posterior_moments(vae.guide, x),
    "closed_form_evidence": lambda vae, x: closed_form_evidence(vae.model, vae.guide, x),
    "decoder_jacobian": lambda vae, x: decoder_jacobian(vae.model, x, torch.ones(len(x), 2)),
    "information_metric": lambda vae, x: information_metric(vae.model, x, torch.ones(len(x), 2)),
    "posterior_precision": lambda vae, x: posterior_precision(vae.model, x, torch.ones(len(x), 2)),
    "optimal_prior": lambda vae, x: optimal_prior(vae.guide, x),
    "gradient_snr": lambda vae, x: gradient_snr(
        IWAE(2), vae.model, vae.guide, x, num_gradients=2
    ).ratio(),
}


def fingerprint(vae: VAE) -> dict[str, Any]:
    return {
        "state": {name: value.clone() for name, value in vae.state_dict().items()},
        "modes": {name: module.training for name, module in vae.named_modules()},
        "gradients": {
            n: None if p.grad is None else p.grad.clone() for n, p in vae.named_parameters()
        },
        "wants": {name: p.requires_grad for name, p in vae.named_parameters()},
        "random": torch.get_rng_state(),
        "store": sorted(pyro.get_param_store().keys()),
        "enabled": torch.is_grad_enabled(),
    }


def assert_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    for key in before:
        if key in ("state", "gradients", "random"):
            torch.testing.assert_close(
                before[key], after[key], rtol=0, atol=0, equal_nan=True, msg=f"{key} changed"
            )
        else:
            assert before[key] == after[key]


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS.keys())
def test_evaluation_changes_nothing(evaluate: Callable[[VAE, Tensor], object]) -> None:
    vae, x = everything()
    before = fingerprint(vae)
    evaluate(vae, x)
    assert_unchanged(before, fingerprint(vae))


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS.keys())
def test_an_evaluation_that_fails_changes_nothing_either(
    evaluate: Callable[[VAE, Tensor], object],
) -> None:
    vae, x = everything()
    before = fingerprint(vae)
    with pytest.raises((ValueError, RuntimeError)):
        evaluate(vae, x[:, :2])
    assert_unchanged(before, fingerprint(vae))


def test_every_public_evaluation_is_held_to_that() -> None:
    functions = {name for name in pyro_vae.evaluation.__all__ if name[0].islower()} - {
        "log_weights",  # see below
        # functions of numbers:
        "bits_per_dim",
        "constant_variance",
        "linear_schedule",
        "sigmoidal_schedule",
        "stochastic_log_determinant",
        "variance_gap",
        "variance_gap_expanded",
        # a program of a program:
        "prior_guide",
    }
    assert functions == set(EVALUATIONS)


def test_log_weights_changes_nothing_but_the_random_state_it_draws_from() -> None:
    vae, x = everything()
    before = fingerprint(vae)
    log_weights(vae.model, vae.guide, x, 5)
    after = fingerprint(vae)
    del before["random"], after["random"]
    assert_unchanged(before, after)


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS.keys())
def test_evaluation_is_in_evaluation_mode_and_repeats_itself(
    evaluate: Callable[[VAE, Tensor], object],
) -> None:
    """Dropout and batch statistics off: two calls from different random states agree."""
    vae, x = everything()
    vae.train()

    def flat(result: Any) -> list[Tensor]:
        if isinstance(result, Tensor):
            return [result]
        parts = result if isinstance(result, tuple) else vars(result).values()
        return [part for part in parts if isinstance(part, Tensor)]

    first = flat(evaluate(vae, x))
    pyro.set_rng_seed(99)
    second = flat(evaluate(vae, x))
    assert first
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_moments_and_the_error_of_a_dimension_are_not_mixed_up() -> None:
    """reconstruction_error is a mean, not a sum, and needs no unit variance."""
    vae = VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(nn.Identity(), FixedVariance(9.0)),
        guide=ConstantNormalGuide(nn.Linear(2, 2)),
    )
    with torch.no_grad():
        vae.guide.encoder.weight.zero_()
        vae.guide.encoder.bias.zero_()
    x = torch.tensor([[3.0, 4.0]])
    assert reconstruction_error(vae.model, vae.guide, x).item() == pytest.approx(12.5)
    assert math.isclose(posterior_moments(vae.guide, x)[1].sum().item(), 2.0)
