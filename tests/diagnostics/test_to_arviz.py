"""Draws, weights and predictions of hand-written pairs, against closed forms."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import transforms
from scipy import stats
from torch import Tensor, nn

from pyro_vae import NonFiniteError, PairError
from pyro_vae.diagnostics import Container, pareto_k, to_arviz

# Each goodness-of-fit test below fails by chance once in a million seeds; the seeds are fixed.
FAILURE_RATE = 1e-6

DRAW_GROUPS = ["posterior", "sample_stats", "log_likelihood", "log_prior", "posterior_predictive"]

pytestmark = pytest.mark.usefixtures("float64")


class LinearGaussian:
    """z ~ N(0, I), x ~ N(Wz + b, s² I), with the exact posterior for its guide."""

    def __init__(self, latent: int = 2, event: int = 3, size: int = 4) -> None:
        generator = torch.Generator().manual_seed(7)
        self.weight = torch.randn(event, latent, generator=generator)
        self.bias = torch.randn(event, generator=generator)
        self.noise = 0.6
        self.x = torch.randn(size, event, generator=generator)
        precision = self.weight.T @ self.weight / self.noise**2 + torch.eye(latent)
        self.covariance = torch.linalg.inv(precision)
        self.projection = self.covariance @ self.weight.T / self.noise**2

    def model(self, x: Tensor) -> Tensor:
        latent = self.weight.shape[1]
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(latent), 1.0).to_event(1))
            return pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", dist.MultivariateNormal(self.mean(x), self.covariance))

    def wrong_guide(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", dist.Normal(self.mean(x) + 0.1, 0.8).to_event(1))

    def mean(self, x: Tensor) -> Tensor:
        return (x - self.bias) @ self.projection.T

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        return dist.Normal(z @ self.weight.T + self.bias, self.noise).to_event(1)

    def log_evidence(self) -> Tensor:
        event = len(self.bias)
        covariance = self.weight @ self.weight.T + self.noise**2 * torch.eye(event)
        return dist.MultivariateNormal(self.bias, covariance).log_prob(self.x)


@pytest.fixture
def pair(float64: torch.dtype) -> LinearGaussian:
    return LinearGaussian()


class Encoder(nn.Module):
    """A guide with everything that evaluation mode is for."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))
        self.head = nn.Linear(5, 2)
        self.was_training: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.was_training.append(self.net[1].training)
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", dist.Normal(self.head(self.net(x)), 1.0).to_event(1))


def array(data: Container, group: str, name: str) -> Tensor:
    return torch.from_numpy(data[group][name].values.copy())


def assert_chi_squared(statistic: Tensor, degrees: int) -> None:
    tail = stats.chi2(degrees).cdf(float(statistic))
    assert FAILURE_RATE / 2 < tail < 1 - FAILURE_RATE / 2


def test_at_the_exact_guide_every_weight_is_the_evidence(pair: LinearGaussian) -> None:
    data = to_arviz(pair.model, pair.guide, pair.x, 7, chunk_size=3)
    weights = array(data, "sample_stats", "log_weight")
    torch.testing.assert_close(weights, pair.log_evidence().expand(1, 7, -1))


def test_weights_at_another_guide(pair: LinearGaussian) -> None:
    data = to_arviz(pair.model, pair.wrong_guide, pair.x, 5)
    z = array(data, "posterior", "z")
    log_q = dist.Normal(pair.mean(pair.x) + 0.1, 0.8).to_event(1).log_prob(z)
    log_prior = dist.Normal(torch.zeros(2), 1.0).to_event(1).log_prob(z)
    log_likelihood = pair.likelihood(z).log_prob(pair.x)
    torch.testing.assert_close(array(data, "log_prior", "z"), log_prior)
    torch.testing.assert_close(array(data, "log_likelihood", "x"), log_likelihood)
    expected = log_likelihood + log_prior - log_q
    torch.testing.assert_close(array(data, "sample_stats", "log_weight"), expected)


def test_posterior_draws_have_the_posteriors_mean_and_variance(pair: LinearGaussian) -> None:
    draws = 2000
    z = array(to_arviz(pair.model, pair.guide, pair.x, draws, seed=1), "posterior", "z")[0]
    root = torch.linalg.cholesky(pair.covariance)
    white = torch.linalg.solve_triangular(root, (z - pair.mean(pair.x)).mT, upper=False)
    assert_chi_squared(draws * white.mean(0).square().sum(), white[0].numel())
    assert_chi_squared(white.square().sum(), white.numel())


def test_predictions_are_drawn_at_their_own_latents(pair: LinearGaussian) -> None:
    data = to_arviz(pair.model, pair.guide, pair.x, 500, seed=2)
    predicted = array(data, "posterior_predictive", "x")
    noise = (predicted - pair.likelihood(array(data, "posterior", "z")).mean) / pair.noise
    assert_chi_squared(500 * noise.mean((0, 1)).square().sum(), noise[0, 0].numel())
    assert_chi_squared(noise.square().sum(), noise.numel())


def test_predictions_are_not_the_data(pair: LinearGaussian) -> None:
    data = to_arviz(pair.model, pair.guide, pair.x, 5)
    assert (array(data, "posterior_predictive", "x") != pair.x).all()
    torch.testing.assert_close(array(data, "observed_data", "x"), pair.x, rtol=0, atol=0)


def test_groups_dims_and_coordinates(pair: LinearGaussian) -> None:
    data = to_arviz(pair.model, pair.guide, pair.x, 5, chunk_size=2)
    assert isinstance(data, Container)
    dims = {
        ("posterior", "z"): ("chain", "draw", "datum", "latent"),
        ("sample_stats", "log_weight"): ("chain", "draw", "datum"),
        ("log_likelihood", "x"): ("chain", "draw", "datum"),
        ("log_prior", "z"): ("chain", "draw", "datum"),
        ("observed_data", "x"): ("datum", "x_dim_0"),
        ("posterior_predictive", "x"): ("chain", "draw", "datum", "x_dim_0"),
    }
    assert {key: data[key[0]][key[1]].dims for key in dims} == dims
    sizes = {"chain": 1, "draw": 5, "datum": 4, "latent": 2}
    assert dict(data["posterior"].sizes) == sizes
    for dim, size in sizes.items():
        np.testing.assert_array_equal(data["posterior"].coords[dim].values, np.arange(size))


def test_what_is_known_of_each_draw(pair: LinearGaussian) -> None:
    data = to_arviz(pair.model, pair.wrong_guide, pair.x, 300, chunk_size=100)
    joint, log_q = (array(data, "sample_stats", name) for name in ("lp", "log_q"))
    torch.testing.assert_close(joint - log_q, array(data, "sample_stats", "log_weight"))
    z = array(data, "posterior", "z")
    torch.testing.assert_close(
        log_q, dist.Normal(pair.mean(pair.x) + 0.1, 0.8).to_event(1).log_prob(z)
    )
    expected = array(data, "log_prior", "z") + array(data, "log_likelihood", "x")
    torch.testing.assert_close(joint, expected)
    k = pareto_k(array(data, "sample_stats", "log_weight")[0])
    torch.testing.assert_close(array(data, "sample_stats", "pareto_k"), k)
    few = to_arviz(pair.model, pair.wrong_guide, pair.x, 20)
    assert "pareto_k" not in few["sample_stats"]


def test_the_prior_is_drawn_and_its_predictions_with_it(pair: LinearGaussian) -> None:
    draws = 2000
    data = to_arviz(pair.model, pair.guide, pair.x, draws, chunk_size=700, seed=2)
    z, x = array(data, "prior", "z"), array(data, "prior_predictive", "x")
    assert z.shape == (1, draws, 4, 2)
    assert_chi_squared(z.square().sum(), z.numel())
    noise = (x - z @ pair.weight.T - pair.bias) / pair.noise
    assert_chi_squared(noise.square().sum(), noise.numel())


def test_without_predictions_there_are_none(pair: LinearGaussian) -> None:
    with_them = to_arviz(pair.model, pair.guide, pair.x, 5, seed=3)
    without = to_arviz(pair.model, pair.guide, pair.x, 5, seed=3, predictive=False)
    left_out = {"posterior_predictive", "prior", "prior_predictive"}
    for group in [*DRAW_GROUPS, *left_out]:
        assert (group in groups_of(without)) == (group not in left_out)
    torch.testing.assert_close(
        array(without, "posterior", "z"), array(with_them, "posterior", "z"), rtol=0, atol=0
    )


def test_labels_and_coordinates(pair: LinearGaussian) -> None:
    data = to_arviz(
        pair.model,
        pair.guide,
        pair.x,
        3,
        labels=torch.tensor([7, 2, 1, 0]),
        coords={"datum": ["a", "b", "c", "d"], "latent": ["width", "slant"]},
    )
    assert data["constant_data"]["label"].sel(datum="b") == 2
    slants = data["posterior"]["z"].sel(datum="c", latent="slant")
    np.testing.assert_array_equal(slants.values, data["posterior"]["z"].values[..., 2, 1])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labels": [1, 2]}, r"labels: expected one for each of 4 data; got shape \(2,\)"),
        ({"coords": {"datum": [1]}}, "coords: expected 4 values for 'datum'"),
        ({"coords": {"zoo": [1]}}, r"coords: expected dims among \[.*'datum'.*\]; got 'zoo'"),
        ({"max_memory": 1e-6}, "expected a result of at most 1e-06 GiB; got one of 23.5 KiB"),
        ({"dims": {"y": ["a"]}}, r"dims: expected sites among \['x', 'z'\]; got 'y'"),
        ({"dims": {"x": []}}, "dims: expected 1 different names for the event dims of 'x'"),
        (
            {"dims": {"x": ["draw"]}},
            r"none of \['chain', 'data', 'datum', 'draw'\]; got \['draw'\]",
        ),
        ({"dims": {"x": "p"}}, r"got 'p'. For example \['x_dim_0'\]"),
    ],
)
def test_what_does_not_fit_is_refused(
    pair: LinearGaussian, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        to_arviz(pair.model, pair.guide, pair.x, 50, **options)


def groups_of(data: Container) -> set[str]:
    named = data.groups() if callable(data.groups) else data.groups
    return {name.strip("/") for name in named}


def test_attributes(pair: LinearGaussian) -> None:
    data = to_arviz(pair.model, pair.guide, pair.x, 5, seed=3)
    expected = {
        "created_by": "pyro_vae",
        "inference_library": "pyro",
        "inference_library_version": pyro.__version__,
        "num_samples": 5,
        "seed": 3,
    }
    assert dict(data.attrs) == expected
    attrs = dict(data["posterior"].attrs)
    assert "approximate posterior" in attrs.pop("description")
    assert attrs == expected
    assert to_arviz(pair.model, pair.guide, pair.x, 1).attrs["seed"] == 0


def test_seeded_draws_repeat_and_leave_the_global_generator(pair: LinearGaussian) -> None:
    before = torch.get_rng_state()
    first, second = (to_arviz(pair.model, pair.guide, pair.x, 5, seed=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for group in DRAW_GROUPS:
        assert first[group].equals(second[group])
    other = to_arviz(pair.model, pair.guide, pair.x, 5, seed=5)
    assert not first["posterior"].equals(other["posterior"])


def test_the_default_seed_is_zero_whatever_the_global_generator_is(pair: LinearGaussian) -> None:
    draws = []
    for _ in range(2):
        torch.manual_seed(6 + len(draws))
        before = torch.get_rng_state()
        draws.append(to_arviz(pair.model, pair.guide, pair.x, 5)["posterior"])
        assert torch.equal(torch.get_rng_state(), before)
    assert draws[0].equals(draws[1])
    assert draws[0].equals(to_arviz(pair.model, pair.guide, pair.x, 5, seed=0)["posterior"])


def test_no_draw_is_there_twice() -> None:
    pair = LinearGaussian(size=45)
    data = to_arviz(pair.model, pair.guide, pair.x, 120, chunk_size=2)
    for group in ("posterior", "prior"):
        z = array(data, group, "z")
        assert len(z.unique()) == z.numel()
    for group in ("posterior_predictive", "prior_predictive"):
        x = array(data, group, "x")
        assert len(x.unique()) == x.numel()


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_the_result_is_the_same_for_every_chunk_size(chunk_size: int) -> None:
    pair = LinearGaussian(size=25)
    expected = to_arviz(pair.model, pair.wrong_guide, pair.x, 60)
    data = to_arviz(pair.model, pair.wrong_guide, pair.x, 60, chunk_size=chunk_size)
    assert groups_of(data) == groups_of(expected)
    for group in ("posterior", "posterior_predictive", "prior", "prior_predictive"):
        assert data[group].equals(expected[group])
    for group in ("sample_stats", "log_likelihood", "log_prior"):
        for name in expected[group].data_vars:
            torch.testing.assert_close(array(data, group, name), array(expected, group, name))


def test_a_draw_is_the_same_among_fewer_draws_and_data() -> None:
    pair = LinearGaussian(size=45)
    many = to_arviz(pair.model, pair.wrong_guide, pair.x, 70)
    for data, draws in ((3, 5), (23, 60), (41, 70)):
        few = to_arviz(pair.model, pair.wrong_guide, pair.x[:data], draws)
        for group in ("posterior", "posterior_predictive", "prior", "prior_predictive"):
            of_many = many[group].isel(draw=slice(draws), datum=slice(data))
            assert few[group].equals(of_many)
        expected = array(many, "sample_stats", "log_weight")[:, :draws, :data]
        torch.testing.assert_close(array(few, "sample_stats", "log_weight"), expected)


class Watched(LinearGaussian):
    """How many draws and data a run is for."""

    def __init__(self, size: int) -> None:
        super().__init__(size=size)
        self.rows: list[int] = []
        self.sampled = 0

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        self.rows.append(z[..., 0].numel())
        watched = self

        class Noise(dist.Normal):
            def rsample(self, *args: Any, **kwargs: Any) -> Tensor:
                watched.sampled += 1
                return super().rsample(*args, **kwargs)

            def expand(self, shape: Any, instance: Any = None) -> dist.TorchDistribution:
                return super().expand(shape, self._get_checked_instance(Noise, instance))

        return Noise(z @ self.weight.T + self.bias, self.noise).to_event(1)


@pytest.mark.parametrize("predictive", [True, False])
def test_runs_are_small_whatever_there_is_to_do(predictive: bool) -> None:
    pair = Watched(300)
    to_arviz(pair.model, pair.guide, pair.x, 300, predictive=predictive)
    assert max(pair.rows) == 100 * 20


def test_predictions_that_are_not_wanted_are_not_made() -> None:
    pair = Watched(30)
    to_arviz(pair.model, pair.guide, pair.x, 5, predictive=False)
    assert not pair.sampled
    to_arviz(pair.model, pair.guide, pair.x, 5)
    assert pair.sampled


def test_what_does_not_fit_is_refused_before_it_is_computed() -> None:
    pair = Watched(1000)
    with pytest.raises(ValueError, match=r"at most 0.1 GiB; got one of 11[0-9].\d MiB"):
        to_arviz(pair.model, pair.guide, pair.x, 1000, max_memory=0.1)
    assert max(pair.rows) <= 40


def test_weights_modes_and_gradients_are_as_before(pair: LinearGaussian) -> None:
    guide = Encoder()
    guide.head.eval()
    modes = [module.training for module in guide.modules()]
    state = {name: value.clone() for name, value in guide.state_dict().items()}
    to_arviz(pair.model, guide, pair.x, 5, chunk_size=2)
    assert not any(guide.was_training)
    assert [module.training for module in guide.modules()] == modes
    assert guide.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in guide.state_dict().items())
    assert all(parameter.grad is None for parameter in guide.parameters())


def test_a_bound_methods_module_is_in_evaluation_mode(pair: LinearGaussian) -> None:
    guide = Encoder()
    to_arviz(pair.model, guide.forward, pair.x, 5)
    assert not any(guide.was_training)
    assert guide.training


def test_modes_and_generator_are_put_back_after_an_error(pair: LinearGaussian) -> None:
    guide, before = Encoder(), torch.get_rng_state()

    def model(x: Tensor) -> None:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        to_arviz(model, guide, pair.x, 5, seed=0)
    assert all(module.training for module in guide.modules())
    assert torch.equal(torch.get_rng_state(), before)


def test_masked_data_add_nothing(pair: LinearGaussian) -> None:
    mask = torch.tensor([True, False, True, False])
    model, guide = (poutine.mask(program, mask) for program in (pair.model, pair.guide))
    weights = array(to_arviz(model, guide, pair.x, 5), "sample_stats", "log_weight")
    torch.testing.assert_close(weights, (pair.log_evidence() * mask).expand(1, 5, -1))


def test_scale_is_no_part_of_a_weight(pair: LinearGaussian) -> None:
    model, guide = (poutine.scale(program, 100.0) for program in (pair.model, pair.guide))
    weights = array(to_arviz(model, guide, pair.x, 5), "sample_stats", "log_weight")
    torch.testing.assert_close(weights, pair.log_evidence().expand(1, 5, -1))


def test_a_random_subsample_is_the_same_in_every_chunk() -> None:
    x = torch.arange(100.0)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample_size=5, dim=-1) as index:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample_size=5, dim=-1) as index:
            pyro.sample("z", dist.Normal(x[index] / 2, math.sqrt(0.5)))

    data = to_arviz(model, guide, x, 4, chunk_size=1)
    observed = array(data, "observed_data", "x")
    evidence = dist.Normal(0.0, math.sqrt(2)).log_prob(observed)
    weights = array(data, "sample_stats", "log_weight")
    torch.testing.assert_close(weights, evidence.expand(1, 4, -1))


def test_a_factor_is_in_the_weights_only(pair: LinearGaussian) -> None:
    def model(x: Tensor) -> None:
        pair.model(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.factor("reward", torch.arange(4.0))

    data = to_arviz(model, pair.guide, pair.x, 5)
    expected = pair.log_evidence() + torch.arange(4.0)
    weights = array(data, "sample_stats", "log_weight")
    torch.testing.assert_close(weights, expected.expand(1, 5, -1))
    for group in ("log_likelihood", "observed_data", "posterior_predictive"):
        assert list(data[group].data_vars) == ["x"]


def test_deterministic_sites_are_left_out(pair: LinearGaussian) -> None:
    def model(x: Tensor) -> None:
        pyro.deterministic("twice", 2 * pair.model(x), event_dim=1)

    data = to_arviz(model, pair.guide, pair.x, 5)
    assert list(data["observed_data"].data_vars) == ["x"]
    weights = array(data, "sample_stats", "log_weight")
    torch.testing.assert_close(weights, pair.log_evidence().expand(1, 5, -1))


def test_an_auxiliary_site_of_the_guide_is_in_q(pair: LinearGaussian) -> None:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            q = dist.MultivariateNormal(pair.mean(x), pair.covariance)
            u = pyro.sample("u", q, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u, event_dim=1))

    data = to_arviz(pair.model, guide, pair.x, 5)
    assert set(data["posterior"].data_vars) == {"u", "z"}
    assert list(data["log_prior"].data_vars) == ["z"]
    weights = array(data, "sample_stats", "log_weight")
    torch.testing.assert_close(weights, pair.log_evidence().expand(1, 5, -1))


def for_these_data(pair: LinearGaussian) -> dict[str, tuple[Any, Any]]:
    """Pairs that are not to be run on a part of the data, whose weights are the evidence."""
    mask = torch.ones(len(pair.x), dtype=torch.bool)
    means = pair.mean(pair.x)

    def looked_up(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.MultivariateNormal(means[: len(x)], pair.covariance))

    def of_all(x: Tensor) -> None:
        with pyro.plate("data", len(pair.x), dim=-1):
            pyro.sample("z", dist.MultivariateNormal(means, pair.covariance))

    def centred(x: Tensor) -> None:
        pair.model(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.factor("zero", (x - x.mean(0)).mean(0).sum().expand(len(x)))
            pyro.factor("batch", x.mean().expand(len(x)))

    return {
        "mask": (poutine.mask(pair.model, mask), poutine.mask(pair.guide, mask)),
        "table": (pair.model, looked_up),
        "size": (pair.model, of_all),
        "mean": (centred, pair.guide),
    }


@pytest.mark.parametrize("size", [3, 20, 25, 40, 65])
@pytest.mark.parametrize("name", ["mask", "table", "size", "mean"])
def test_a_pair_for_these_data_alone_is_run_on_all_of_them(name: str, size: int) -> None:
    pair = LinearGaussian(size=size)
    model, guide = for_these_data(pair)[name]
    data = to_arviz(model, guide, pair.x, 70, chunk_size=30)
    expected = pair.log_evidence() + (pair.x.mean() if name == "mean" else 0.0)
    weights = array(data, "sample_stats", "log_weight")
    torch.testing.assert_close(weights, expected.expand(1, 70, -1))
    torch.testing.assert_close(array(data, "observed_data", "x"), pair.x)
    assert len(array(data, "posterior", "z").unique()) == 70 * size * 2
    again = to_arviz(model, guide, pair.x, 70, chunk_size=4)
    assert again["posterior"].equals(data["posterior"])


def test_a_guide_that_scores_only_its_own_draws_is_run_in_blocks() -> None:
    pair = LinearGaussian(size=45)
    flow = transforms.planar(2)
    rows: list[int] = []

    def guide(x: Tensor) -> None:
        rows.append(len(x))
        with pyro.plate("data", len(x), dim=-1):
            normal = dist.Normal(pair.mean(x), 1.0).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(normal, [flow]))

    data = to_arviz(pair.model, guide, pair.x, 30, predictive=False)
    assert max(rows) == 40  # where it is tried whether it can be
    few = to_arviz(pair.model, guide, pair.x[:7], 5, predictive=False)
    assert few["posterior"].equals(data["posterior"].isel(draw=slice(5), datum=slice(7)))


# Where validation is on, Pyro warns of the NaN too.
@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize(("scale", "draws"), [(1e-200, 30), (math.nan, 30), (math.nan, 5)])
@pytest.mark.parametrize("datum", [2, 22])
def test_a_datum_whose_weights_are_no_numbers(scale: float, draws: int, datum: int) -> None:
    pair = LinearGaussian(size=25)

    def model(x: Tensor) -> None:
        bad = (x == pair.x[datum]).all(-1)
        noise = torch.where(bad, scale, 0.6)[:, None]
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = z @ pair.weight.T + pair.bias
            pyro.sample("x", dist.Normal(mean, noise, validate_args=False).to_event(1), obs=x)

    told = rf"to_arviz: expected log-weights .* at datum {datum}, in log p\(x\|…\)\. Check that"
    with pytest.raises(NonFiniteError, match=told) as caught:
        to_arviz(model, pair.guide, pair.x, draws, predictive=False)
    assert caught.value.term == "log p(x|…)"


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize(
    ("site", "term"), [("prior", "log p(z)"), ("q", "log q(z|…)"), ("factor", "log p of a factor")]
)
def test_the_term_that_is_no_number_is_named(pair: LinearGaussian, site: str, term: str) -> None:
    class Broken(dist.Normal):
        def log_prob(self, value: Tensor) -> Tensor:
            return super().log_prob(value) * math.nan

        def expand(self, shape: Any, instance: Any = None) -> dist.TorchDistribution:
            return super().expand(shape, self._get_checked_instance(Broken, instance))

    def of_z(name: str) -> dist.TorchDistribution:
        return (Broken if site == name else dist.Normal)(torch.zeros(2), 1.0).to_event(1)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", pair.likelihood(pyro.sample("z", of_z("prior"))), obs=x)
            pyro.factor("reward", torch.full((len(x),), -math.inf if site == "factor" else 0.0))

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", of_z("q"))

    with pytest.raises(NonFiniteError, match="at datum 0") as caught:
        to_arviz(model, guide, pair.x, 5)
    assert caught.value.term == term


def test_some_weights_of_zero_are_no_error(pair: LinearGaussian) -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", pair.likelihood(z), obs=x)
            pyro.factor("half", torch.where(z[..., 0] > pair.mean(pair.x).max(), 0.0, -math.inf))

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.full((len(x), 2), 3.0), 3.0).to_event(1))

    weights = array(to_arviz(model, guide, pair.x, 50), "sample_stats", "log_weight")
    assert weights.isneginf().any()


def latents(**shapes: tuple[int, ...]) -> Any:
    def program(x: Tensor, observe: bool = True) -> None:
        with pyro.plate("data", len(x), dim=-1):
            for name, shape in shapes.items():
                standard = dist.Normal(torch.zeros(shape), 1.0)
                pyro.sample(name, standard.to_event(len(shape)))
            if observe:
                pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1), obs=x)

    return program, functools.partial(program, observe=False)


@pytest.mark.parametrize(
    ("shapes", "dims"),
    [
        ({"z": (2,)}, {"z": ["latent"]}),
        ({"z": (2,), "tau": ()}, {"z": ["latent"], "tau": []}),
        ({"z": (2,), "w": (2,)}, {"z": ["z_dim_0"], "w": ["w_dim_0"]}),
        ({"z": (2,), "w": (2, 3)}, {"z": ["z_dim_0"], "w": ["w_dim_0", "w_dim_1"]}),
        ({"z": (2, 3)}, {"z": ["z_dim_0", "z_dim_1"]}),
        ({"z": ()}, {"z": []}),
    ],
)
def test_the_dim_of_the_only_latent_vector_is_latent(
    pair: LinearGaussian, shapes: dict[str, tuple[int, ...]], dims: dict[str, list[str]]
) -> None:
    data = to_arviz(*latents(**shapes), pair.x, 5)
    for group in ("posterior", "prior"):
        found = {name: list(data[group][name].dims[3:]) for name in data[group].data_vars}
        assert found == dims


def test_a_plate_that_is_named_latent_keeps_its_name() -> None:
    def program(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1), pyro.plate("latent", 4, dim=-2):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def model(x: Tensor) -> None:
        program(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    z = to_arviz(model, program, torch.zeros(3), 5, max_plate_nesting=2)["posterior"]["z"]
    assert z.dims == ("chain", "draw", "latent", "datum", "z_dim_0")


def test_names_for_event_dims(pair: LinearGaussian) -> None:
    dims = {"x": ["pixel"], "z": ("what",)}
    coords = {"pixel": ["left", "middle", "right"]}
    data = to_arviz(pair.model, pair.guide, pair.x, 5, dims=dims, coords=coords)
    assert data["posterior"]["z"].dims == ("chain", "draw", "datum", "what")
    assert data["prior"]["z"].dims == ("chain", "draw", "datum", "what")
    assert data["observed_data"]["x"].dims == ("datum", "pixel")
    for group in ("posterior_predictive", "prior_predictive"):
        assert list(data[group]["x"].coords["pixel"].values) == coords["pixel"]


def test_another_plate_is_a_dim_of_the_draws_and_summed_in_the_weights() -> None:
    x = torch.randn(3, 4)

    def model(x: Tensor) -> None:
        with pyro.plate("data", 4, dim=-1):
            pyro.sample("level", dist.Normal(0.0, 1.0))
            with pyro.plate("time", 3, dim=-2):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 4, dim=-1):
            pyro.sample("level", dist.Normal(0.0, 1.0))
            with pyro.plate("time", 3, dim=-2):
                pyro.sample("z", dist.Normal(x / 2, math.sqrt(0.5)))

    data = to_arviz(model, guide, x, 5, max_plate_nesting=2)
    assert data["posterior"]["level"].dims == ("chain", "draw", "datum")
    assert data["posterior"]["z"].dims == ("chain", "draw", "time", "datum")
    assert data["observed_data"]["x"].dims == ("time", "datum")
    evidence = dist.Normal(0.0, math.sqrt(2)).log_prob(x).sum(0)
    weights = array(data, "sample_stats", "log_weight")
    torch.testing.assert_close(weights, evidence.expand(1, 5, -1))
    with pytest.raises(ValueError, match="increasing max_plate_nesting to at least 2"):
        to_arviz(model, guide, x, 5)


def test_image_shaped_events() -> None:
    x = torch.randn(3, 1, 2, 2)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            mean = z[..., None, None, None].expand(*z.shape, 1, 2, 2)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(3), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.mean((1, 2, 3)), 1.0))

    data = to_arviz(model, guide, x, 5)
    predicted = data["posterior_predictive"]["x"]
    assert predicted.dims == ("chain", "draw", "datum", "x_dim_0", "x_dim_1", "x_dim_2")
    assert predicted.shape == (1, 5, 3, 1, 2, 2)
    assert data["log_likelihood"]["x"].shape == (1, 5, 3)


@pytest.mark.parametrize("name", ["num_samples", "chunk_size", "max_plate_nesting"])
def test_a_count_below_one(pair: LinearGaussian, name: str) -> None:
    counts = {"num_samples": 1, name: 0}
    with pytest.raises(ValueError, match=f"to_arviz: expected {name} ≥ 1, an integer; got 0"):
        to_arviz(pair.model, pair.guide, pair.x, **counts)


def test_a_guide_without_latent_sites(pair: LinearGaussian) -> None:
    with pytest.raises(ValueError, match="expected a guide with at least one latent sample site"):
        to_arviz(pair.model, lambda x: None, pair.x, 5)


def test_a_model_without_observed_sites(pair: LinearGaussian) -> None:
    model = poutine.uncondition(pair.model)
    with pytest.raises(ValueError, match="expected a model with at least one observed"):
        to_arviz(model, pair.guide, pair.x, 5)


def test_a_latent_site_of_the_model_only(pair: LinearGaussian) -> None:
    def model(x: Tensor) -> None:
        pair.model(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.sample("w", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"got a guide without \['w'\]"):
        to_arviz(model, pair.guide, pair.x, 5)


def test_a_latent_site_of_the_guide_only(pair: LinearGaussian) -> None:
    def guide(x: Tensor) -> None:
        pair.guide(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.sample("w", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"got a model without \['w'\]"):
        to_arviz(pair.model, guide, pair.x, 5)


def test_a_model_without_the_plate_over_the_data(pair: LinearGaussian) -> None:
    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(2))
        pyro.sample("x", pair.likelihood(z).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("z", dist.Normal(pair.mean(x), 1.0).to_event(2))

    with pytest.raises(ValueError, match=r"plate over the data at dim -1.*got \['x', 'z'\]"):
        to_arviz(model, guide, pair.x, 5)


def test_a_latent_site_for_all_data_at_once(pair: LinearGaussian) -> None:
    def also_global(program):
        def run(x: Tensor) -> None:
            pyro.sample("theta", dist.Normal(0.0, 1.0))
            program(x)

        return run

    with pytest.raises(ValueError, match=r"got \['theta'\] outside of one"):
        to_arviz(also_global(pair.model), also_global(pair.guide), pair.x, 5)


def test_plates_of_different_sizes(pair: LinearGaussian) -> None:
    def model(x: Tensor) -> None:
        pair.model(x)
        with pyro.plate("others", 2, dim=-1):
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.zeros(2))

    with pytest.raises(ValueError, match="expected plates of one size at dim -1; got the sizes"):
        to_arviz(model, pair.guide, pair.x, 5)


def test_event_dims_that_are_not_declared(pair: LinearGaussian) -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.mean(-1), 1.0).expand([9, 4]), obs=torch.zeros(9, 4))

    with pytest.raises(ValueError, match='at site "x", invalid log_prob shape'):
        to_arviz(model, pair.guide, pair.x, 5, max_plate_nesting=2)


def test_a_guide_of_one_value_has_no_weights() -> None:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Delta(x))

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 0.01), obs=x)

    with pytest.raises(PairError, match="expected a guide with a density"):
        to_arviz(model, guide, torch.randn(5))
