"""Rényi bounds and averages of importance-weighted ones: between the ELBO and log p(x)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO

from pyro_vae import ELBO, IWAE, MIWAE, Objective, Renyi
from pyro_vae.objectives.renyi import power_mean
from pyro_vae.testing import linear_gaussian
from tests.objectives.pairs import bernoulli_vae


def on_the_same_draws(*objectives: Objective) -> list[torch.Tensor]:
    """Losses and gradients, each a vector."""
    torch.manual_seed(0)
    vae, x = bernoulli_vae(), torch.rand(8, 6)
    found = []
    for objective in objectives:
        pyro.set_rng_seed(2)
        loss = objective.differentiable_loss(vae.model, vae.guide, x)
        flat = torch.autograd.grad(loss, list(vae.parameters()))
        found.append(torch.cat([loss[None], *(g.flatten() for g in flat)]))
    return found


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (Renyi(6, alpha=0.0), IWAE(6)),
        (Renyi(6, alpha=1.0), ELBO(6)),
        (MIWAE(6, num_groups=1), IWAE(6)),
        (MIWAE(6, num_groups=6), ELBO(6)),
    ],
    ids=repr,
)
def test_the_ends_are_iwae_and_elbo(one: Objective, same: Objective) -> None:
    torch.testing.assert_close(*on_the_same_draws(one, same))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 2.0])
def test_renyi_is_renyi_elbo(alpha: float) -> None:
    torch.manual_seed(0)
    vae, x = bernoulli_vae(), torch.rand(8, 6)
    stock = RenyiELBO(alpha=alpha, num_particles=5, vectorize_particles=True, max_plate_nesting=1)
    losses = []
    for objective in (Renyi(5, alpha=alpha), stock):
        pyro.set_rng_seed(2)
        losses.append(objective.loss(vae.model, vae.guide, x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6, -1e-4, -1e-6])
def test_near_one_single_precision_is_enough(distance: float) -> None:
    """log K over 1 − α would cancel to one digit; in double precision the same."""
    log_weight = -7 + torch.randn(5, 200, dtype=torch.float64)
    log_weight[:, 100:] *= 40  # and where the weights are far apart

    def value_and_gradient(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        weights = weights.clone().requires_grad_()
        bound = power_mean(weights, distance)
        return bound, torch.autograd.grad(bound.sum(), weights)[0]

    found, gradient = value_and_gradient(log_weight.float())
    exact, exact_gradient = value_and_gradient(log_weight)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-4, atol=1e-5)


def mean_bound(objective: Objective) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean over many draws, and its standard error, on a pair whose guide is not exact."""
    pair = linear_gaussian(orthogonal=False, dtype=torch.float64)
    x = pair.x[:1].repeat(20_000, 1)
    pyro.set_rng_seed(0)
    bound = objective.per_datum(pair.model, pair.guide, x, batch_size=len(x))
    return bound.mean() - pair.log_evidence(pair.x[:1])[0], bound.std() / len(x) ** 0.5


@pytest.mark.parametrize(
    "rising",
    [
        [Renyi(8, alpha=alpha) for alpha in (3.0, 1.0, 0.5, 0.0)],
        [MIWAE(16, num_groups=m) for m in (16, 4, 1)],
        [Renyi(k, alpha=0.5) for k in (1, 4, 64)],
    ],
    ids=["orders", "groups", "particles"],
)
def test_the_bounds_are_ordered_and_below_the_evidence(rising: list[Objective]) -> None:
    # Failure rate: each of 10 comparisons is of means 4 standard errors apart or more in truth,
    # each bound stands below log p(x) but for 4 standard errors: below 10⁻³ in all.
    found = [mean_bound(objective) for objective in rising]
    for (low, low_error), (high, high_error) in itertools.pairwise(found):
        assert high - low > -4 * (low_error**2 + high_error**2) ** 0.5
    assert found[-1][0] - found[0][0] > 4 * found[0][1]
    assert all(gap < 4 * error for gap, error in found)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Renyi(3, alpha=-0.5), "alpha: expected a finite number ≥ 0; got -0.5"),
        (lambda: Renyi(3, alpha=float("nan")), "alpha: expected a finite number ≥ 0; got nan"),
        (lambda: MIWAE(6, num_groups=4), "expected a divisor of num_particles = 6; got 4"),
        (lambda: MIWAE(6, num_groups=0), "expected a divisor of num_particles = 6; got 0"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Objective], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.parametrize("objective", [IWAE(10), Renyi(10, alpha=0.5), Renyi(10, alpha=2.0)])
@pytest.mark.parametrize("size", [None, 2])
def test_where_every_weight_is_the_likelihood_the_bound_is_exact_subsampled_or_not(
    objective: Objective, size: int | None
) -> None:
    """NumPyro's case: the guide is the prior and x says nothing of z, so log p(x) is N log 0.6."""

    def guide() -> None:
        with pyro.plate("data", 100, subsample_size=size):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def model() -> None:
        with pyro.plate("data", 100, subsample_size=size) as rows:
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(0.6), obs=torch.ones(len(rows)))

    assert objective.loss(model, guide) == pytest.approx(-100 * math.log(0.6), rel=1e-6)


@pytest.mark.parametrize("objective", [IWAE(5), Renyi(5, alpha=0.5)])
@pytest.mark.parametrize("sizes", [(3, 5), (2, 3)])
def test_nested_plates_are_scaled_as_renyi_elbo_scales_them(
    objective: Objective, sizes: tuple[int, int]
) -> None:
    """NumPyro's other case: the likelihood over two plates, each subsampled or not."""
    x = torch.linspace(0.1, 0.9, 15).reshape(3, 5)

    def plates() -> tuple[pyro.plate, pyro.plate]:
        rows = pyro.plate("rows", 3, subsample=torch.arange(sizes[0]), dim=-2)
        return rows, pyro.plate("columns", 5, subsample=torch.arange(sizes[1]), dim=-1)

    def guide() -> None:
        rows, columns = plates()
        with rows, columns:
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def model() -> None:
        rows, columns = plates()
        with rows, columns:
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x[: sizes[0], : sizes[1]])

    scale = 15 / (sizes[0] * sizes[1])
    exact = dist.Normal(0.0, 1.0).log_prob(x[: sizes[0], : sizes[1]]).sum().item()
    nested = type(objective)(**objective.settings() | {"max_plate_nesting": 2})
    assert nested.loss(model, guide) == pytest.approx(-scale * exact, rel=1e-6)
