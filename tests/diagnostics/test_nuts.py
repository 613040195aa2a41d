"""Draws by NUTS against exact posteriors, and what must not change.

A mean of draws is held to five of its Monte-Carlo errors, by the effective sample size, and a
deviation likewise: each fails by chance about once in a million seeds, or once in some ten thousand
where few draws make the effective sample size uncertain; the seeds are fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import (
    VAE,
    NonFiniteError,
    NormalGuide,
    NormalLikelihood,
    PairError,
    StandardNormalPrior,
)
from pyro_vae.diagnostics import Container, load, save, to_arviz
from pyro_vae.diagnostics import nuts as module
from pyro_vae.diagnostics.nuts import nuts_reference
from pyro_vae.testing import LinearGaussian, linear_gaussian

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def pair() -> LinearGaussian:
    return linear_gaussian(orthogonal=False, dtype=torch.float64)


@pytest.fixture(scope="module")
def drawn(pair: LinearGaussian) -> Container:
    return nuts_reference(pair.model, pair.x[:2], num_samples=150, warmup=150, num_chains=2)


def numbers(data: Container, group: str, name: str) -> np.ndarray:
    return np.asarray(data[group][name].values)


def assert_moments(
    data: Container, name: str, mean: Tensor, deviation: Tensor, kurtosis: float = 3.0
) -> None:
    z = numbers(data, "posterior", name)
    draws = numbers(data, "sample_stats", f"ess_{name}")
    error = deviation.numpy() / np.sqrt(draws)
    assert (np.abs(z.mean((0, 1)) - mean.numpy()) < 5 * error).all()
    # var(s²) = (kurtosis − 1) σ⁴ / n, and half of the relative error is that of s.
    relative = np.sqrt((kurtosis - 1) / draws) / 2
    assert (np.abs(z.std((0, 1)) / deviation.numpy() - 1) < 5 * relative).all()


def test_draws_have_the_exact_posteriors_mean_and_deviation(
    pair: LinearGaussian, drawn: Container
) -> None:
    exact = pair.posterior(pair.x[:2])
    assert_moments(drawn, "z", exact.mean, exact.stddev)
    z = numbers(drawn, "posterior", "z")
    found = np.corrcoef(z[:, :, 0].reshape(-1, 2).T)[0, 1]
    covariance = exact.covariance_matrix[0]
    expected = covariance[0, 1] / covariance.diagonal().prod().sqrt()
    # Fisher's z has an error of 1/√n; at least half of 300 draws count.
    assert abs(np.arctanh(found) - np.arctanh(expected.item())) < 5 / np.sqrt(150)


def test_chains_have_mixed(drawn: Container) -> None:
    assert (numbers(drawn, "sample_stats", "r_hat_z") < 1.05).all()
    assert (numbers(drawn, "sample_stats", "ess_z") > 50).all()
    assert not numbers(drawn, "sample_stats", "diverging").any()


def test_groups_have_the_dims_of_to_arviz(pair: LinearGaussian, drawn: Container) -> None:
    other = to_arviz(pair.model, pair.guide, pair.x[:2], 5)
    assert drawn["posterior"]["z"].dims == other["posterior"]["z"].dims
    assert drawn["observed_data"].equals(other["observed_data"])
    assert drawn["posterior"]["z"].shape == (2, 150, 2, 2)
    stats = drawn["sample_stats"]
    assert stats["lp"].dims == stats["diverging"].dims == ("chain", "draw", "datum")
    assert stats["r_hat_z"].dims == stats["ess_z"].dims == ("datum", "latent")
    assert stats["diverging"].dtype == bool
    assert drawn.attrs["sampler"] == "NUTS"
    assert (drawn.attrs["num_chains"], drawn.attrs["warmup"], drawn.attrs["seed"]) == (2, 150, 0)


def test_lp_is_the_log_joint_of_each_draw(pair: LinearGaussian, drawn: Container) -> None:
    z = torch.from_numpy(numbers(drawn, "posterior", "z"))
    expected = pair.prior().log_prob(z) + pair.likelihood(z).log_prob(pair.x[:2])
    torch.testing.assert_close(torch.from_numpy(numbers(drawn, "sample_stats", "lp")), expected)


def test_they_are_saved_and_loaded(tmp_path: Path, drawn: Container) -> None:
    again = load(save(drawn, tmp_path / "nuts.nc"))
    for group in ("posterior", "sample_stats", "observed_data"):
        assert again[group].equals(drawn[group])


def test_nothing_is_changed_and_the_seed_decides() -> None:
    encoder = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    decoder = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Dropout(0.5))
    pair = VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(decoder),
        guide=NormalGuide(encoder),
    )
    decoder[2].eval()
    modes = [part.training for part in pair.modules()]
    state = {name: value.clone() for name, value in pair.state_dict().items()}
    pyro.param("own", torch.tensor(2.0))
    x = torch.randn(2, 3)
    before = torch.get_rng_state()
    options: dict[str, Any] = {"num_samples": 5, "warmup": 5, "num_chains": 2}
    first, again, other = (
        nuts_reference(pair.model, x, guide=pair.guide, seed=seed, **options) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in pair.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in pair.state_dict().items())
    assert all(parameter.grad is None for parameter in pair.parameters())
    assert list(pyro.get_param_store()) == ["own"]
    assert first["posterior"].equals(again["posterior"])
    assert not first["posterior"].equals(other["posterior"])
    z = first["posterior"]["z"].values
    assert len(np.unique(z[:, 0])) == z[:, 0].size  # chains and data differ


def test_chains_start_at_the_prior_or_at_the_guide(
    pair: LinearGaussian, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Tensor] = []

    class Watched(module.NUTS):
        def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
            super().setup(warmup_steps, *args, **kwargs)
            starts.append(self.initial_params["z"])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(5.0 + torch.zeros(len(x), 2), 1e-3).to_event(1))

    monkeypatch.setattr(module, "NUTS", Watched)
    options: dict[str, Any] = {"num_samples": 4, "warmup": 1, "num_chains": 2}
    nuts_reference(pair.model, pair.x[:1], guide=guide, **options)
    assert len(starts) == 2
    assert all(((start - 5).abs() < 0.01).all() for start in starts)
    nuts_reference(pair.model, pair.x[:1], **options)
    assert not torch.equal(starts[2], starts[3])
    assert all((start.abs() < 5).all() for start in starts[2:])


def test_progress_is_shown_when_asked_for(
    pair: LinearGaussian, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"num_samples": 4, "warmup": 1, "num_chains": 2}
    nuts_reference(pair.model, pair.x[:1], **options)
    assert capsys.readouterr().err == ""
    nuts_reference(pair.model, pair.x[:1], progress=True, **options)
    assert "2/2" in capsys.readouterr().err


# --- other models ---------------------------------------------------------------------------------


def members_of_groups(x: Tensor) -> None:
    """u of a group and z of each member: x ~ N(z, 1), z ~ N(u, 1), u ~ N(0, 1)."""
    with pyro.plate("groups", len(x), dim=-1):
        u = pyro.sample("u", dist.Normal(torch.zeros(len(x)), 1.0))
        with pyro.plate("members", x.shape[1], dim=-2):
            z = pyro.sample("z", dist.Normal(u, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)


def test_several_sites_in_other_plates() -> None:
    x = torch.randn(2, 3)
    data = nuts_reference(
        members_of_groups, x, num_samples=10, warmup=10, num_chains=2, max_plate_nesting=2
    )
    assert data["posterior"]["u"].dims == ("chain", "draw", "datum")
    assert data["posterior"]["z"].dims == ("chain", "draw", "members", "datum")
    assert data["sample_stats"]["r_hat_z"].dims == ("members", "datum")
    u, z = (torch.from_numpy(numbers(data, "posterior", name)) for name in ("u", "z"))
    expected = dist.Normal(0.0, 1.0).log_prob(u)
    expected = expected + dist.Normal(u[:, :, None], 1.0).log_prob(z).sum(2)
    expected = expected + dist.Normal(z, 1.0).log_prob(x.T).sum(2)
    torch.testing.assert_close(torch.from_numpy(numbers(data, "sample_stats", "lp")), expected)


@pytest.mark.slow
def test_two_sites_of_which_one_is_positive() -> None:
    """z ~ Gamma(2, 1), x ~ Poisson(z), and beside it y ~ N(u, 1), u ~ N(0, 1)."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Gamma(torch.full((len(x),), 2.0), 1.0))
            u = pyro.sample("u", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Poisson(z), obs=x[:, 0])
            pyro.sample("y", dist.Normal(u, 1.0), obs=x[:, 1])

    x = torch.tensor([[0.0, -1.0], [4.0, 2.0]])
    data = nuts_reference(model, x, num_samples=400, warmup=200, num_chains=2)
    exact = dist.Gamma(2 + x[:, 0], 2.0 + 0 * x[:, 0])
    # A Gamma variable's kurtosis is 3 + 6/a.
    assert_moments(data, "z", exact.mean, exact.stddev, kurtosis=6.0)
    assert_moments(data, "u", x[:, 1] / 2, torch.full((2,), 0.5**0.5))
    assert (numbers(data, "posterior", "z") > 0).all()
    assert (numbers(data, "sample_stats", "r_hat_z") < 1.05).all()


@pytest.mark.slow
def test_a_small_vae() -> None:
    """A non-linear decoder: two guides, the prior's draws and the encoder's, lead to one place."""
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 6))
    pair = VAE(
        prior=StandardNormalPrior(2),
        likelihood=NormalLikelihood(decoder),
        guide=NormalGuide(nn.Linear(6, 4)),
    )
    x = pair.generate(1)
    one, other = (
        nuts_reference(pair.model, x, guide=guide, num_samples=300, warmup=200, num_chains=2)
        for guide in (None, pair.guide)
    )
    means = [numbers(data, "posterior", "z").mean((0, 1)) for data in (one, other)]
    deviation = numbers(one, "posterior", "z").std((0, 1))
    error = deviation * np.sqrt(2 / numbers(one, "sample_stats", "ess_z"))
    assert (np.abs(means[0] - means[1]) < 5 * error).all()


# --- what is refused ------------------------------------------------------------------------------


def latent(prior: Callable[[Tensor], Any], obs: bool = True) -> Callable[[Tensor], None]:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", prior(x))
            if obs:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return model


def no_latent(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(torch.zeros(len(x)), 1.0), obs=x)


def shared(x: Tensor) -> None:
    z = pyro.sample("z", dist.Normal(torch.tensor(0.0), 1.0))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            latent(lambda x: dist.Bernoulli(torch.full((len(x),), 0.5))),
            "site 'z': expected a continuous latent.*got Bernoulli. Sum it out of the model",
        ),
        (
            latent(lambda x: dist.Poisson(torch.full((len(x),), 0.5))),
            "site 'z': expected a continuous latent.*got Poisson",
        ),
        (shared, "site 'z': expected one for each of 3 data.*outside of a plate"),
        (no_latent, "at least one latent site; got none"),
        (
            latent(lambda x: dist.Normal(torch.zeros(len(x)), 1.0), obs=False),
            "at least one observed site; got none",
        ),
    ],
)
def test_models_that_nuts_cannot_run_on(model: Any, message: str) -> None:
    with pytest.raises(PairError, match=message):
        nuts_reference(model, torch.zeros(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 3}, "num_samples ≥ 4 and num_chains ≥ 2, for R̂; got 3 and 4"),
        ({"num_chains": 1}, "got 500 and 1"),
        ({"warmup": 0}, "warmup ≥ 1"),
        ({"max_plate_nesting": 0}, "max_plate_nesting ≥ 1"),
    ],
)
def test_counts_that_are_too_small(
    pair: LinearGaussian, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        nuts_reference(pair.model, pair.x[:1], **options)


def test_a_datum_that_is_not_finite_is_named(pair: LinearGaussian) -> None:
    x = pair.x[:2].clone()
    x[1, 0] = float("nan")
    options: dict[str, Any] = {"num_samples": 4, "warmup": 1, "num_chains": 2}
    with pyro.validation_enabled(False), pytest.raises(NonFiniteError, match="none at datum 1"):
        nuts_reference(pair.model, x, **options)
