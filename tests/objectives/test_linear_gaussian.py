"""The linear-Gaussian VAE, where log p(x), the posterior and the best bound are known exactly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_vae import ELBO, IWAE, MIWAE, DReG, Objective, Renyi, StickingTheLanding
from pyro_vae.evaluation import log_evidence, log_weights
from pyro_vae.testing import LinearGaussian, linear_gaussian

pytestmark = pytest.mark.usefixtures("float64")


def exact_pair(**kwargs: int) -> LinearGaussian:
    return linear_gaussian(dtype=torch.float64, **kwargs)


def wrong_pair(**kwargs: int) -> LinearGaussian:
    """Its posterior is correlated, its guide is the best diagonal one."""
    return linear_gaussian(dtype=torch.float64, orthogonal=False, **kwargs)


def log_joint(pair: LinearGaussian, z: Tensor) -> Tensor:
    return pair.prior().log_prob(z) + pair.likelihood(z).log_prob(pair.x)


# --- the closed forms themselves ---------------------------------------------------------------


def test_the_log_evidence_is_the_integral_over_z() -> None:
    pair = exact_pair(latent_dim=1, data_dim=3)
    grid = torch.linspace(-12.0, 12.0, 4001)
    joint = log_joint(pair, grid[:, None, None].expand(-1, len(pair.x), 1))
    integral = torch.logsumexp(joint, 0) + math.log(grid[1] - grid[0])
    torch.testing.assert_close(pair.log_evidence(pair.x), integral, rtol=0, atol=1e-10)


def test_the_log_evidence_is_the_normal_density_with_the_full_covariance() -> None:
    pair = wrong_pair()
    covariance = pair.weight @ pair.weight.T + pair.variance * torch.eye(5)
    normal = torch.distributions.MultivariateNormal(pair.bias, covariance)
    torch.testing.assert_close(pair.log_evidence(pair.x), normal.log_prob(pair.x))


@pytest.mark.parametrize("make", [exact_pair, wrong_pair])
def test_the_posterior_obeys_bayes_rule_at_any_latent(make: Callable[[], LinearGaussian]) -> None:
    pair = make()
    z = torch.randn(len(pair.x), 2)
    posterior = log_joint(pair, z) - pair.log_evidence(pair.x)
    torch.testing.assert_close(pair.posterior(pair.x).log_prob(z), posterior)


def test_the_guide_is_the_posterior_where_the_columns_are_orthogonal() -> None:
    pair = exact_pair()
    q, p = pair.guide.posterior(pair.x), pair.posterior(pair.x)
    torch.testing.assert_close(q.mean, p.mean)
    torch.testing.assert_close(q.variance, p.variance)


def bound_by_quadrature(pair: LinearGaussian) -> Tensor:
    """E_q[log p(x, z) − log q(z|x)] by Gauss–Hermite nodes, exact for these quadratics."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    nodes, weights = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    q = pair.guide.posterior(pair.x)
    unit = torch.cartesian_prod(nodes, nodes)[:, None]
    z = q.mean + q.stddev * unit
    weight = torch.cartesian_prod(weights, weights).prod(-1)
    return weight @ (log_joint(pair, z) - q.log_prob(z))


def test_the_optimal_bound_is_the_expectation_over_the_guide() -> None:
    pair = wrong_pair()
    torch.testing.assert_close(pair.optimal_bound(pair.x), bound_by_quadrature(pair))
    assert (pair.optimal_bound(pair.x) < pair.log_evidence(pair.x) - 0.01).all()


def test_no_other_diagonal_guide_has_a_larger_bound() -> None:
    pair = wrong_pair()
    best = pair.optimal_bound(pair.x).mean()
    for _ in range(20):
        changed = wrong_pair()
        with torch.no_grad():
            for parameter in changed.guide.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
            assert bound_by_quadrature(changed).mean() < best


# --- at the exact posterior --------------------------------------------------------------------


@pytest.mark.parametrize(
    "objective",
    [
        ELBO(1),
        ELBO(7),
        IWAE(1),
        IWAE(7),
        IWAE(50),
        MIWAE(6, num_groups=2),
        Renyi(7, alpha=0.5),
        Renyi(7, alpha=3.0),
        DReG(7),
        StickingTheLanding(7),
    ],
    ids=repr,
)
def test_every_draw_of_a_bound_is_the_log_evidence(objective: Objective) -> None:
    pair = exact_pair()
    for _ in range(3):
        bound = objective.per_datum(pair.model, pair.guide, pair.x)
        torch.testing.assert_close(bound, pair.log_evidence(pair.x), rtol=0, atol=1e-10)


def test_every_importance_weight_is_the_evidence_and_the_estimate_has_no_error() -> None:
    pair = exact_pair()
    exact = pair.log_evidence(pair.x)
    weights = log_weights(pair.model, pair.guide, pair.x, 30)
    torch.testing.assert_close(weights, exact.expand(30, -1), rtol=0, atol=1e-10)
    estimate = log_evidence(pair.model, pair.guide, pair.x, num_samples=30)
    torch.testing.assert_close(estimate.value, exact, rtol=0, atol=1e-10)
    assert estimate.error.max() < 1e-10


# --- with the wrong guide ----------------------------------------------------------------------


def test_the_bounds_rise_with_the_number_of_particles_up_to_the_log_evidence() -> None:
    pair = wrong_pair(num_data=50)
    exact = pair.log_evidence(pair.x)

    def gap(bounds: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard error of bounds − log p(x), [draws, data].

        exp(bound − log p(x)) has mean 1 for every K: taken away as a control variate it leaves
        the mean and hardly any noise.
        """
        short = bounds - exact
        short = short - torch.expm1(short)
        return short.mean(), (short.var(0) / len(short)).sum().sqrt() / short.shape[1]

    weights = log_weights(pair.model, pair.guide, pair.x, 20_000)
    gaps = []
    for k in (1, 2, 10, 100):
        drawn, error = gap(weights.reshape(-1, k, 50).logsumexp(1) - math.log(k))
        again = IWAE(k).per_datum(pair.model, pair.guide, pair.x.repeat(40, 1)).reshape(40, 50)
        other, other_error = gap(again)
        # The objective's own draws have the same mean. 5 standard errors: fails by chance < 1e-5.
        assert (drawn - other).abs() < 5 * (error**2 + other_error**2).sqrt()
        gaps.append((drawn, error))
    # Each step is worth many standard errors, so a wrong order by chance is rarer than 1e-6.
    for (lower, error), (higher, _) in itertools.pairwise([*gaps, (torch.zeros(()), None)]):
        assert lower + 5 * error < higher
    elbo = (bound_by_quadrature(pair) - exact).mean()
    assert abs(gaps[0][0] - elbo) < 5 * gaps[0][1]  # K = 1 is the ELBO; fails by chance < 1e-6


def test_elbo_with_analytic_kl_averages_to_the_optimal_bound() -> None:
    pair = wrong_pair()
    objective = ELBO(4000, analytic_kl=True)
    particles = objective.particles(pair.model, pair.guide, pair.x)
    draws = particles.reconstruction - objective.kl(particles)
    error = draws.std(0) / math.sqrt(4000)
    # 20 data, 5 standard errors each: fails by chance about once in 10⁵ runs of other seeds.
    assert ((objective.bound(particles) - pair.optimal_bound(pair.x)).abs() < 5 * error).all()
