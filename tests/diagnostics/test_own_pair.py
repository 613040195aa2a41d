"""A user's own pairs, functions and modules that are no ``VAE``, through every tool that takes one.

Two pairs, of a latent vector ``z`` and a positive number ``tau`` each, with five observations:

* *counts*, trained by stock Pyro: given z, ``tau`` integrates in closed form, and z on a grid, so
  that log p(x) and the posterior's means are known;
* *regression*, conjugate: its guide is the exact posterior, in which z hangs on ``tau``.

What is drawn is held to five of its Monte-Carlo errors: a test fails by chance about once in a
million seeds, or in some thousand where few draws make the error uncertain; the seeds are fixed.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from matplotlib.axes import Axes
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import Tensor, nn

from pyro_vae import ELBO, Pair, PairError, StickingTheLanding, diagnostics, evaluation, fit
from pyro_vae.diagnostics import (
    CollapseAlarm,
    Container,
    Kind,
    Thresholds,
    _container,
    amortisation_audit,
    check_model,
    compare,
    expected_coverage,
    load,
    log_density,
    nuts_reference,
    pareto_k,
    posterior_predictive_check,
    reliability,
    save,
    simulation_based_calibration,
    to_arviz,
    variational_sbc,
)
from pyro_vae.evaluation import (
    active_units,
    annealed_log_evidence,
    bidirectional_log_evidence,
    bound_terms,
    closed_form_evidence,
    decoder_jacobian,
    gradient_snr,
    information,
    information_metric,
    log_evidence,
    log_weights,
    optimal_prior,
    posterior_moments,
    posterior_precision,
    prior_guide,
    quadrature_log_evidence,
    reconstruction_error,
)

Program = Callable[[Tensor], Any]

# arviz 0.23 asks matplotlib 3.11 for what will go.
OLD_ALIASES = pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping")

TAKES_A_PAIR = {"model", "models", "guide", "program"}
"""The names of parameters that a pair is given by, or a half of it."""
COVERED: set[str] = set()


def covers(*tools: Any) -> Callable[[Any], Any]:
    """Marks the test that holds what the tools say of an own pair."""
    COVERED.update(tool.__name__ for tool in tools)
    return lambda test: test


# --- the pairs ------------------------------------------------------------------------------------

PLACES = 5
# By which the counts were made.
DIRECTIONS = [[0.6, 0.0], [0.4, 0.4], [0.0, 0.6], [-0.5, 0.3], [0.3, -0.6]]


class Counts(nn.Module):
    """x_j ~ Poisson(τ exp(Wz + b)_j) with z ~ N(0, I) and τ ~ Gamma(4, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, PLACES)

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            tau = pyro.sample("tau", dist.Gamma(x.new_tensor(4.0), 4.0))
            return pyro.sample("x", self.likelihood(z, tau), obs=x)

    def likelihood(self, z: Tensor, tau: Tensor) -> dist.TorchDistribution:
        return dist.Poisson(tau[..., None] * self.decoder(z).exp()).to_event(1)


class CountsGuide(nn.Module):
    """A normal for z, and for τ, independent of it, a log-normal."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PLACES, 16), nn.Tanh(), nn.Linear(16, 6))

    def forward(self, x: Tensor) -> None:
        of_z, of_tau = self.posterior(x)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", of_z)
            pyro.sample("tau", of_tau)

    def posterior(self, x: Tensor) -> tuple[dist.TorchDistribution, dist.TorchDistribution]:
        mean, log_scale, of_tau = self.encoder(x.log1p()).split(2, -1)
        z = dist.Normal(mean, log_scale.exp()).to_event(1)
        return z, dist.LogNormal(of_tau[..., 0], of_tau[..., 1].exp())


class CountsPair(Pair):
    model: Counts
    guide: CountsGuide


@dataclass(frozen=True)
class OwnPair:
    """The counts' pair in the two forms that a user may have, of the same networks."""

    modules: CountsPair
    functions: tuple[Program, Program]
    x: Tensor

    @property
    def forms(self) -> dict[str, tuple[Program, Program]]:
        return {"functions": self.functions, "modules": (self.modules.model, self.modules.guide)}

    @torch.no_grad()
    def exact(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p(x), E[z|x] and E[τ|x], from a grid that makes errors of 1e-8 nats."""
        axis = torch.linspace(-6.0, 6.0, 161, dtype=x.dtype)
        z = torch.cartesian_prod(axis, axis)
        log_rate = self.modules.model.decoder(z)
        total, rate = x.sum(-1, keepdim=True), log_rate.exp().sum(-1)
        # ∫ Gamma(τ; 4, 4) Π_j Poisson(x_j; τ r_j) dτ, and z's prior and area beside it.
        log_p = 4 * math.log(4) - math.lgamma(4) + torch.lgamma(4 + total)
        log_p = log_p - (4 + total) * (4 + rate).log() + x @ log_rate.T
        log_p = log_p - torch.lgamma(x + 1).sum(-1, keepdim=True)
        log_p = log_p + dist.Normal(x.new_zeros(2), 1.0).to_event(1).log_prob(z)
        share = log_p.softmax(-1)
        evidence = log_p.logsumexp(-1) + 2 * math.log(axis[1] - axis[0])
        return evidence, share @ z, (share * (4 + total) / (4 + rate)).sum(-1)


def functions_of(pair: CountsPair) -> tuple[Program, Program]:
    """Plain functions, from outside of which no module is seen."""

    def model(x: Tensor) -> Tensor:
        pyro.module("own_decoder", pair.model.decoder)
        return pair.model(x)

    def guide(x: Tensor) -> None:
        pyro.module("own_encoder", pair.guide.encoder)
        pair.guide(x)

    return model, guide


@dataclass(frozen=True)
class Regression:
    """x ~ N(Az, I/τ) with z ~ N(0, I/τ) and τ ~ Gamma(3, 3), and the posterior for its guide.

    The guide may be made wrong: its deviations of z ``width`` times as large, its means of z off by
    ``shift`` of them.
    """

    width: float = 1.0
    shift: float = 0.0

    @property
    def weight(self) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        return torch.randn(PLACES, 2, generator=generator, dtype=torch.float64)

    def model(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            tau = pyro.sample("tau", dist.Gamma(x.new_tensor(3.0), 3.0))
            scale = tau[..., None].rsqrt()
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), scale).to_event(1))
            return pyro.sample("x", dist.Normal(z @ self.weight.T, scale).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        precision = self.weight.T @ self.weight + torch.eye(2, dtype=x.dtype)
        root = torch.linalg.cholesky(torch.linalg.inv(precision))
        mean = torch.linalg.solve(precision, x @ self.weight, left=False)
        left = x.square().sum(-1) - (mean @ precision * mean).sum(-1)
        with pyro.plate("data", len(x), dim=-1):
            tau = pyro.sample("tau", dist.Gamma(3 + PLACES / 2 + 0 * left, 3 + left / 2))
            scale_tril = root * tau[..., None, None].rsqrt()
            off = self.shift * scale_tril.diagonal(dim1=-2, dim2=-1)
            q = dist.MultivariateNormal(mean + off, scale_tril=self.width * scale_tril)
            pyro.sample("z", q)

    def log_evidence(self, x: Tensor) -> Tensor:
        root = torch.linalg.cholesky(self.weight @ self.weight.T + torch.eye(PLACES, dtype=x.dtype))
        return dist.MultivariateStudentT(x.new_tensor(6.0), x.new_zeros(PLACES), root).log_prob(x)

    def data(self, size: int) -> Tensor:
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            model = pyro.poutine.uncondition(self.model)
            return model(torch.zeros(size, PLACES, dtype=torch.float64))


@pytest.fixture(scope="module")
def trained() -> OwnPair:
    """Counts that a decoder made, and a pair that stock Pyro trained on them."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    truth = Counts().double()
    with torch.no_grad():
        truth.decoder.weight.copy_(torch.tensor(DIRECTIONS))
        truth.decoder.bias.fill_(math.log(4.0))
        x = pyro.poutine.uncondition(truth)(torch.zeros(200, PLACES, dtype=torch.float64))
    modules = CountsPair(Counts(), CountsGuide()).double()
    pair = OwnPair(modules, functions_of(modules), x)
    svi = SVI(*pair.functions, Adam({"lr": 0.02}), Trace_ELBO())
    losses = [svi.step(x) for _ in range(400)]
    assert losses[-1] < losses[0] - 2 * len(x)
    return pair


def state_of(pair: OwnPair) -> dict[str, Any]:
    """What no tool may change."""
    store = pyro.get_param_store()
    return {
        "weights": {n: p.detach().clone() for n, p in pair.modules.state_dict().items()},
        "gradients": [parameter.grad for parameter in pair.modules.parameters()],
        "modes": [part.training for part in pair.modules.modules()],
        "store": {name: value.detach().clone() for name, value in store.items()},
        "numbers": torch.get_rng_state(),
    }


@pytest.fixture
def pair(trained: OwnPair) -> Iterator[OwnPair]:
    """The trained pair, with its parameters in Pyro's store, as SVI leaves them there; and whatever
    a test does, it finds weights, modes, the store and the random state unchanged after it."""
    for program in trained.functions:
        program(trained.x)
    pyro.param("another's", torch.ones(2))
    for parameter in trained.modules.parameters():
        parameter.grad = None
    before = state_of(trained)
    yield trained
    torch.testing.assert_close(state_of(trained), before, rtol=0, atol=0)


def numbers(data: Container, group: str, name: str) -> Tensor:
    return torch.from_numpy(data[group][name].values.copy())


def assert_near(value: Tensor, exact: Tensor, error: Tensor) -> None:
    """Five errors; estimates that are exact may be off by their rounding."""
    assert value.shape == exact.shape
    assert bool(((value - exact).abs() < 5 * error + 1e-8).all())


# --- none is left out -----------------------------------------------------------------------------


def test_every_public_tool_that_takes_a_pair_is_held_to_something_here() -> None:
    tools = [getattr(part, name) for part in (diagnostics, evaluation) for name in part.__all__]
    # Results have fields of these names, too: dataclasses, but not what is called with a pair.
    asked = [t for t in tools if inspect.isfunction(t) or t is CollapseAlarm]
    taking = {t.__name__ for t in asked if TAKES_A_PAIR & inspect.signature(t).parameters.keys()}
    assert {"to_arviz", "reliability", "log_density", "compare", "log_evidence"} < taking
    assert taking - COVERED == set()


# --- draws ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(trained: OwnPair) -> Container:
    return to_arviz(*trained.functions, trained.x[:12], 300, seed=0)


@covers(to_arviz)
def test_the_export_is_what_a_hand_computes(pair: OwnPair, exported: Container) -> None:
    z, tau = (numbers(exported, "posterior", name) for name in ("z", "tau"))
    assert z.shape == (1, 300, 12, 2)
    assert tau.shape == (1, 300, 12)
    x, (of_z, of_tau) = pair.x[:12], pair.modules.guide.posterior(pair.x[:12])
    log_q = of_z.log_prob(z) + of_tau.log_prob(tau)
    log_prior = {
        "z": dist.Normal(x.new_zeros(2), 1.0).to_event(1).log_prob(z),
        "tau": dist.Gamma(x.new_tensor(4.0), 4.0).log_prob(tau),
    }
    for name, expected in log_prior.items():
        torch.testing.assert_close(numbers(exported, "log_prior", name), expected)
    log_p = pair.modules.model.likelihood(z, tau).log_prob(x)
    torch.testing.assert_close(numbers(exported, "log_likelihood", "x"), log_p.detach())
    weight = sum(log_prior.values(), log_p) - log_q
    torch.testing.assert_close(numbers(exported, "sample_stats", "log_weight"), weight.detach())
    assert_near(z.mean((0, 1)), of_z.mean, of_z.stddev / 300**0.5)
    prior = numbers(exported, "prior", "tau").mean()
    assert_near(prior, torch.ones_like(prior), torch.tensor((0.25 / (300 * 12)) ** 0.5))


@covers(to_arviz)
def test_every_option_of_the_export_has_its_effect(
    pair: OwnPair, exported: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"seed": 0, "max_plate_nesting": 2}
    data = to_arviz(
        *pair.functions,
        pair.x[:12],
        300,
        labels=range(12),
        coords={"latent": ["width", "slant"], "place": list("abcde")},
        dims={"x": ["place"]},
        predictive=False,
        progress=True,
        **options,
    )
    # What is drawn depends on the seed, not on how deep the pair's plates might have been.
    xr.testing.assert_equal(data["sample_stats"], exported["sample_stats"])
    slant = data["posterior"]["z"].sel(latent="slant").values
    np.testing.assert_array_equal(slant, exported["posterior"]["z"].values[..., 1])
    assert data["constant_data"]["label"].values.tolist() == list(range(12))
    assert data["observed_data"]["x"].dims == ("datum", "place")
    assert "3600/3600" in capsys.readouterr().err
    assert not hasattr(data, "prior_predictive")
    chunked = to_arviz(*pair.functions, pair.x[:12], 300, chunk_size=7, seed=0)
    xr.testing.assert_equal(chunked["posterior"], exported["posterior"])
    xr.testing.assert_allclose(chunked["sample_stats"], exported["sample_stats"])
    other = to_arviz(*pair.functions, pair.x[:12], 300, seed=1)
    assert not other["posterior"].equals(exported["posterior"])
    with pytest.raises(ValueError, match="result of at most 1e-06 GiB"):
        to_arviz(*pair.functions, pair.x[:12], 300, max_memory=1e-6, **options)


@covers(save, load)
def test_a_file_holds_the_export(exported: Container, tmp_path: Path) -> None:
    again = load(save(exported, tmp_path / "own.nc"))
    assert type(again) is type(exported)
    for group in ("posterior", "sample_stats", "log_prior", "observed_data", "prior_predictive"):
        xr.testing.assert_identical(again[group], exported[group])


ONE = {"coords": {"datum": [0]}}
# What arviz draws of it: the options, and how many panels that makes of z[0], z[1] and tau.
PLOTS_0: dict[str, tuple[dict[str, Any], int]] = {
    "plot_trace": (ONE, 4),  # z in one row, tau in another; densities, and traces beside them
    "plot_posterior": (ONE, 3),
    "plot_density": ({"var_names": ["tau"]}, 3),  # of each datum
    "plot_dist_comparison": ({**ONE, "var_names": ["tau"]}, 3),  # prior, posterior, and both
    "plot_violin": ({"var_names": ["tau"]}, 3),
    "plot_forest": (ONE, 1),
    "plot_pair": (ONE, 3),
    "plot_ess": (ONE, 3),
    "plot_mcse": (ONE, 3),
    "plot_autocorr": (ONE, 3),
    "plot_rank": (ONE, 3),
    "plot_ppc": ({"num_pp_samples": 10, "random_seed": 0}, 1),
    "plot_bpv": ({}, 1),
}
PLOTS_1: dict[str, tuple[dict[str, Any], int]] = {
    "plot_trace": (ONE, 3),
    "plot_trace_dist": (ONE, 4),
    "plot_dist": (ONE, 3),
    "plot_prior_posterior": (ONE, 3),
    "plot_forest": (ONE, 1),
    "plot_ridge": (ONE, 1),
    "plot_pair": (ONE, 6),  # and the three alone, in the diagonal
    "plot_parallel": (ONE, 1),
    "plot_ess": (ONE, 3),
    "plot_ess_evolution": (ONE, 3),
    "plot_mcse": (ONE, 3),
    "plot_autocorr": (ONE, 3),
    "plot_ppc_dist": ({"num_samples": 10}, 1),
    "plot_ppc_tstat": ({}, 1),
}
PLOTS, BACKEND = (
    (PLOTS_0, {"show": False})
    if _container.HAS_INFERENCE_DATA
    else (PLOTS_1, {"backend": "matplotlib"})
)


@pytest.fixture(scope="module")
def few(trained: OwnPair) -> Container:
    return to_arviz(*trained.functions, trained.x[:3], 60, seed=0)


@pytest.fixture
def panels() -> Iterator[Callable[[], list[Axes]]]:
    """The panels that are drawn on, when asked; every figure is closed after the test."""
    yield lambda: [
        panel
        for figure in map(plt.figure, plt.get_fignums())
        for panel in figure.axes
        if panel.has_data()
    ]
    plt.close("all")


@OLD_ALIASES
@covers(to_arviz)
@pytest.mark.parametrize("name", PLOTS)
def test_arviz_draws_it(name: str, few: Container, panels: Callable[[], list[Axes]]) -> None:
    options, expected = PLOTS[name]
    getattr(_container.az, name)(few, **options, **BACKEND)
    assert len(panels()) == expected


@OLD_ALIASES
def test_the_trace_that_arviz_draws_is_that_of_the_draws(
    few: Container, panels: Callable[[], list[Axes]]
) -> None:
    _container.az.plot_trace(few, **ONE, **BACKEND)
    lines = [np.asarray(line.get_ydata()) for panel in panels() for line in panel.lines]
    posterior = few["posterior"]
    for draws in (posterior["tau"][0, :, 0], *posterior["z"][0, :, 0].T):
        assert any(np.array_equal(line, draws) for line in lines)


def test_arviz_sums_it_up(few: Container) -> None:
    table = _container.az.summary(few, round_to="none")
    posterior = few["posterior"].mean(("chain", "draw"))
    rows = [f"z[{i}, {j}]" for i in range(3) for j in range(2)] + [f"tau[{i}]" for i in range(3)]
    expected = [*posterior["z"].values.flat, *posterior["tau"].values]
    np.testing.assert_allclose(table["mean"].loc[rows].astype(float), expected)


def test_modules_and_functions_of_the_same_networks_have_the_same_numbers(pair: OwnPair) -> None:
    x = pair.x[:6]
    z = {"z": x.new_ones(3, 6, 2), "tau": x.new_ones(3, 6)}
    of_mean = {"mean": lambda x: x.mean(1)}
    sbc: dict[str, Any] = {"num_simulations": 20, "num_draws": 9}
    tools: dict[str, Callable[[Program, Program], Any]] = {
        "to_arviz": lambda m, g: numbers(to_arviz(m, g, x, 5, seed=0), "sample_stats", "lp"),
        "reliability": lambda m, g: reliability(m, g, x, num_samples=30).k,
        "log_density": lambda m, g: log_density(m)(z, x).detach(),
        "sbc": lambda m, g: simulation_based_calibration(m, g, x, **sbc).ranks,
        "predictive": lambda m, g: posterior_predictive_check(m, g, x, of_mean).replicated,
        "information": lambda m, g: information(m, g, x, num_draws=10).log_q,
        "annealed": lambda m, g: annealed_log_evidence(m, g, x, num_temperatures=2).value,
        "log_evidence": lambda m, g: log_evidence(m, g, x, num_samples=5).value,
        "bound_terms": lambda m, g: bound_terms(m, g, x, analytic_kl=False).bound,
        "moments": lambda m, g: posterior_moments(g, x, site="tau"),
        "active_units": lambda m, g: active_units(g, x).variance,
        "optimal_prior": lambda m, g: optimal_prior(g, x),
        "reconstruction": lambda m, g: reconstruction_error(m, g, x),
    }
    for name, tool in tools.items():
        one, other = (tool(*form) for form in pair.forms.values())
        torch.testing.assert_close(one, other, rtol=0, atol=0, msg=name)


# --- how good is the model ------------------------------------------------------------------------


@covers(reliability, pareto_k, log_evidence, log_weights, annealed_log_evidence, prior_guide)
def test_every_estimate_of_the_evidence_agrees_with_the_exact_one(pair: OwnPair) -> None:
    x = pair.x[:8]
    exact, _, _ = pair.exact(x)
    smoothed = reliability(*pair.functions, x, num_samples=500)
    sampled = log_evidence(*pair.functions, x, num_samples=500)
    torch.testing.assert_close(smoothed.raw_log_evidence, sampled.value)
    trusted = smoothed.k < smoothed.threshold
    assert trusted.double().mean() > 0.5
    for value, error in (
        (smoothed.log_evidence, smoothed.error),
        (sampled.value, sampled.error),
    ):
        assert_near(value[trusted], exact[trusted], error[trusted])
    annealed = annealed_log_evidence(*pair.functions, x, num_temperatures=30, leapfrog_steps=2)
    assert_near(annealed.value, exact, annealed.error)
    model = pair.functions[0]
    of_prior = log_evidence(model, prior_guide(model), x, num_samples=20_000)
    assert_near(of_prior.value, exact, of_prior.error)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        weights = log_weights(*pair.functions, x, 100)
        k = pareto_k(weights)
    torch.testing.assert_close(reliability(*pair.functions, x, num_samples=100).k, k)


@covers(quadrature_log_evidence)
def test_quadrature_is_exact(pair: OwnPair) -> None:
    """Of three latents, one of them positive, in single precision."""
    x = pair.x[:2]
    of_modules, of_functions = (
        quadrature_log_evidence(model, x, cells=24) for model, _ in pair.forms.values()
    )
    torch.testing.assert_close(of_functions.value, pair.exact(x)[0], atol=2e-3, rtol=0)
    assert torch.equal(of_modules.value, of_functions.value)


@covers(bidirectional_log_evidence)
def test_bounds_from_both_sides_have_the_exact_evidence_between_them(pair: OwnPair) -> None:
    options: dict[str, Any] = {"num_chains": 8, "leapfrog_steps": 2}
    gaps = {}
    for steps in (3, 30):
        found = bidirectional_log_evidence(
            *pair.functions, pair.x[:40], num_temperatures=steps, **options
        )
        exact = pair.exact(found.x)[0].mean().item()
        error = found.mean_gap_error()
        assert found.lower.mean() - 3 * error < exact < found.upper.mean() + 3 * error
        gaps[steps] = found.mean_gap()
    assert gaps[3] > gaps[30] > -3 * error


@covers(bound_terms, information, CollapseAlarm)
def test_rate_and_distortion_are_the_bound(pair: OwnPair) -> None:
    exact, _, _ = pair.exact(pair.x)
    terms = bound_terms(*pair.functions, pair.x, num_samples=50, analytic_kl=False)
    assert terms.bound.mean() < exact.mean()
    with pytest.raises(PairError, match=r"closed form of KL.* at site 'tau'"):
        bound_terms(*pair.functions, pair.x)
    found = information(*pair.functions, pair.x, num_samples=50)
    error = math.hypot(found.rate.error, found.distortion.error)
    assert abs(found.bound - terms.bound.mean().item()) < 7 * error
    assert abs(found.rate.value - terms.kl.mean().item()) < 7 * found.rate.error
    assert found.latents == ("z[0]", "z[1]", "tau")
    assert 0 < found.mutual_information.value < found.mutual_information_upper.value
    assert found.mutual_information_upper.value <= found.rate.value
    assert found.active.count == 3
    alarm = CollapseAlarm(*pair.functions, pair.x, num_samples=50)
    alarm(1)
    assert alarm.latents == found.latents
    assert abs(alarm.history[0].rate - found.rate.value) < 7 * found.rate.error
    assert abs(alarm.history[0].bound - found.bound) < 7 * error


@covers(posterior_moments, active_units, optimal_prior, reconstruction_error)
def test_moments_are_those_of_the_guides_distributions(pair: OwnPair) -> None:
    model, guide = pair.functions
    of_z, of_tau = pair.modules.guide.posterior(pair.x)
    for name, q in {"z": of_z, "tau": of_tau}.items():
        moments = posterior_moments(guide, pair.x, site=name, batch_size=64)
        torch.testing.assert_close(moments, (q.mean.detach(), q.variance.detach()))
    assert active_units(guide, pair.x).count == 2
    tau = active_units(guide, pair.x, site="tau", prior_variance=0.25)
    torch.testing.assert_close(tau.variance, of_tau.mean.var().detach())
    assert tau.count == 1
    expected = (of_z.variance + of_z.mean.square()).mean(0).detach()
    torch.testing.assert_close(optimal_prior(guide, pair.x), expected)
    mean = pair.modules.model.likelihood(of_z.mean, of_tau.mean).mean
    squares = (pair.x - mean).square().mean(1).detach()
    torch.testing.assert_close(reconstruction_error(model, guide, pair.x), squares)


@covers(gradient_snr)
def test_two_gradient_estimators_have_one_mean(pair: OwnPair) -> None:
    x, count = pair.x[:20], 60
    elbo, path = (
        gradient_snr(objective, pair.modules.model, pair.modules.guide, x, num_gradients=count)
        for objective in (ELBO(5), StickingTheLanding(5))
    )
    for name, mean in elbo.mean.items():
        variance = elbo.deviation[name].square() + path.deviation[name].square()
        assert_near(path.mean[name], mean, (variance / count).sqrt())
    assert path.ratio("guide").median() != elbo.ratio("guide").median()
    with pytest.raises(PairError, match="model: expected a module, whose parameters have names"):
        gradient_snr(ELBO(5), *pair.functions, x)


@covers(closed_form_evidence, decoder_jacobian, information_metric, posterior_precision)
def test_what_is_of_one_latent_vector_is_refused_for_two_sites(pair: OwnPair) -> None:
    """τ would be drawn from its prior, unseen."""
    x = Regression().data(4)
    own, z = Regression(), x.new_zeros(4, 2)
    for tool in (decoder_jacobian, information_metric, posterior_precision):
        with pytest.raises(PairError, match=r"one latent site, 'z'; got \['tau'\] beside it"):
            tool(own.model, x, z)
    with pytest.raises(PairError, match=r"one latent site, 'z'; got \['tau'\] beside it"):
        closed_form_evidence(own.model, own.guide, x)


@covers(compare)
def test_models_are_ranked_by_their_exact_evidence(pair: OwnPair) -> None:
    x, worse = pair.x[:40], copy.deepcopy(pair.modules)
    with torch.no_grad():
        worse.model.decoder.bias.add_(0.2)
    table = compare({"worse": (worse.model, worse.guide), "own": pair.functions}, x)
    assert list(table.index) == ["own", "worse"]
    others = OwnPair(worse, (worse.model, worse.guide), x)
    exact = {"own": pair.exact(x)[0], "worse": others.exact(x)[0]}
    expected = compare(exact)
    for column in ("elpd", "elpd_diff"):
        np.testing.assert_allclose(table[column], expected[column], atol=2.0)
    np.testing.assert_allclose(table["dse"], expected["dse"], rtol=0.1)


# --- can the inference be trusted -----------------------------------------------------------------


@covers(check_model)
def test_the_linter_finds_no_error_but_where_there_is_one(
    pair: OwnPair,
) -> None:
    own = Regression()
    assert not check_model(own.model, own.guide, own.data(10))
    # As it is with functions, and with modules that are not Pyro's.
    known = {"functions": "programs-are-modules", "modules": "parameters-that-svi-sees"}
    for form, programs in pair.forms.items():
        found = check_model(*programs, pair.x[:10])
        assert found.ok
        assert {finding.rule for finding in found} == {known[form]}

    def undeclared(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x[:, :2], 1.0))
            pyro.sample("tau", dist.LogNormal(x.new_zeros(len(x)), 1.0))

    broken = check_model(pair.modules.model, undeclared, pair.x[:10])
    assert [finding.rule for finding in broken.errors] == ["declared-events"]
    assert "'z'" in broken.errors[0].where


@covers(log_density)
def test_the_log_density_is_that_of_model_and_guide(pair: OwnPair, exported: Container) -> None:
    z = {name: numbers(exported, "posterior", name)[0] for name in ("z", "tau")}
    for program, name in zip(pair.functions, ("lp", "log_q"), strict=True):
        found = log_density(program)(z, pair.x[:12])
        torch.testing.assert_close(found, numbers(exported, "sample_stats", name)[0])


CALIBRATED: dict[str, Any] = {"num_simulations": 400, "seed": 1}


@covers(simulation_based_calibration, variational_sbc, expected_coverage)
def test_the_exact_posterior_is_calibrated() -> None:
    own = Regression()
    x = own.data(200)
    joint = {"log p(x, z)": log_density(own.model)}
    for tool in (simulation_based_calibration, variational_sbc):
        result = tool(own.model, own.guide, x, quantities=joint, **CALIBRATED)
        # One seed in twenty fails either.
        assert set(result.verdicts) == {"tau", "z[0]", "z[1]", "log p(x, z)"}
        assert set(result.verdicts.values()) == {"calibrated"}
    covered = expected_coverage(own.model, own.guide, x, **CALIBRATED)
    assert covered.verdicts == dict.fromkeys(["tau", "z[0]", "z[1]", "joint"], "calibrated")
    torch.testing.assert_close(
        reliability(own.model, own.guide, x, num_samples=50).log_evidence, own.log_evidence(x)
    )


def test_posteriors_that_are_wrong_in_z_are_named() -> None:
    narrow, high = Regression(width=0.5), Regression(shift=0.5)
    x = narrow.data(200)
    ranks = simulation_based_calibration(narrow.model, narrow.guide, x, **CALIBRATED)
    assert ranks.verdicts == {"tau": "calibrated", "z[0]": "too narrow", "z[1]": "too narrow"}
    symmetric = variational_sbc(narrow.model, narrow.guide, x, **CALIBRATED)
    assert set(symmetric.verdicts.values()) == {"calibrated"}
    shifted = variational_sbc(high.model, high.guide, x, **CALIBRATED)
    assert shifted.verdicts == {"tau": "calibrated", "z[0]": "too high", "z[1]": "too high"}
    covered = expected_coverage(narrow.model, narrow.guide, x, **CALIBRATED)
    wrong = dict.fromkeys(["z[0]", "z[1]", "joint"], "over-confident")
    assert covered.verdicts == {"tau": "calibrated", **wrong}


@covers(posterior_predictive_check)
def test_data_that_the_model_does_not_make_are_found(pair: OwnPair) -> None:
    statistics = {
        "odd": lambda x: (x % 2).mean(1),
        "spread": lambda x: x.var(1) / (1 + x.mean(1)),
    }
    options: dict[str, Any] = {"num_draws": 200}
    own = posterior_predictive_check(*pair.functions, pair.x, statistics, **options)
    assert own.verdicts == {"odd": "reproduced", "spread": "reproduced"}
    even = 2 * (pair.x / 2).round()
    found = posterior_predictive_check(*pair.functions, even, statistics, **options)
    assert found.verdicts["odd"] == "smaller"


@covers(amortisation_audit)
def test_gaps_are_never_negative_and_end_at_the_exact_evidence(pair: OwnPair) -> None:
    x = pair.x[:10]
    exact, mean, of_tau = pair.exact(x)
    audit = amortisation_audit(*pair.functions, x, steps=60, num_samples=300)
    assert (audit.amortisation_gap.value >= 0).all()
    assert (audit.encoder_elbo.value <= audit.refined_elbo.value).all()
    assert (audit.refined_elbo.value <= audit.richer_elbo.value).all()
    # The richer family has any covariance, and log p(x) comes from it.
    assert audit.log_evidence.mean() == pytest.approx(exact.mean().item(), abs=0.05)
    assert audit.inference_gap.mean() > audit.approximation_gap.mean() > 0
    total = audit.amortisation_gap.value + audit.approximation_gap.value
    torch.testing.assert_close(total, audit.inference_gap.value)
    before, _ = posterior_moments(pair.functions[1], x)
    after, _ = posterior_moments(audit.refined, x)
    assert (after - mean).square().mean() < 0.5 * (before - mean).square().mean()
    tau, _ = posterior_moments(audit.refined, x, site="tau")
    assert ((tau - of_tau) / of_tau).abs().max() < 0.1


def test_of_an_exact_posterior_there_is_nothing_to_gain() -> None:
    own = Regression()
    x = own.data(5)
    audit = amortisation_audit(own.model, own.guide, x, steps=10, num_samples=50)
    torch.testing.assert_close(audit.encoder_elbo.value, own.log_evidence(x))
    for gap in (audit.inference_gap, audit.amortisation_gap, audit.approximation_gap):
        torch.testing.assert_close(gap.value, torch.zeros_like(gap.value))


@OLD_ALIASES
@covers(nuts_reference)
def test_markov_chains_find_the_exact_means_and_arviz_ranks_them(
    pair: OwnPair, panels: Callable[[], list[Axes]]
) -> None:
    model, guide = pair.functions
    x = pair.x[:1]
    options: dict[str, Any] = {"num_samples": 60, "warmup": 60, "num_chains": 2}
    data = nuts_reference(model, x, guide=guide, **options)
    _, z, tau = pair.exact(x)
    for name, exact in {"z": z, "tau": tau}.items():
        drawn = numbers(data, "posterior", name).flatten(0, 1)
        error = drawn.std(0) / numbers(data, "sample_stats", f"ess_{name}").sqrt()
        assert_near(drawn.mean(0), exact, error)
        assert (numbers(data, "sample_stats", f"r_hat_{name}") < 1.1).all()
    lp = log_density(model)({n: numbers(data, "posterior", n)[0] for n in ("z", "tau")}, x)
    torch.testing.assert_close(numbers(data, "sample_stats", "lp")[0], lp)
    _container.az.plot_rank(data, **BACKEND)  # of two chains, which arviz 1.x insists on
    assert len(panels()) == 3


@covers(CollapseAlarm)
def test_a_training_is_watched_and_left_as_it_is(pair: OwnPair) -> None:
    alone, watched = (copy.deepcopy(pair.modules) for _ in range(2))
    alarm = CollapseAlarm(
        watched.model, watched.guide, pair.x, Thresholds(looks=1), tell=lambda message: None
    )
    options: dict[str, Any] = {"epochs": 3, "batch_size": 50, "progress": False}
    fit(alone, pair.x, **options)
    fit(watched, pair.x, after_epoch=alarm, **options)
    assert [look.epoch for look in alarm.history] == [1, 2, 3]
    assert alarm.alarms == []
    torch.testing.assert_close(watched.state_dict(), alone.state_dict(), rtol=0, atol=0)
    with torch.no_grad():
        for parameter in watched.guide.encoder[2].parameters():
            parameter.zero_()
    alarm(4)
    assert Kind.POSTERIOR_COLLAPSE in {each.kind for each in alarm.alarms}
    assert alarm.history[-1].activity.abs().max() < 1e-6
