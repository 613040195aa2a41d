"""The same numbers as stock Pyro from the same seed; the stock classes on this library's VAE."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    MCMC,
    NUTS,
    SVI,
    Predictive,
    RenyiELBO,
    Trace_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from torch import Tensor, nn

from pyro_vae import ELBO, IWAE, VAE, FloatingPrior, Objective, update_statistics
from pyro_vae.testing import linear_gaussian
from tests.objectives.pairs import (
    assert_same,
    bernoulli_vae,
    function_guide,
    function_model,
    hierarchical_pair,
)

pytestmark = pytest.mark.usefixtures("float64")

Pair = tuple[Callable[..., object], Callable[..., object], Tensor]


def nonlinear() -> Pair:
    vae = bernoulli_vae()
    return vae.model, vae.guide, torch.rand(8, 6).round()


def linear() -> Pair:
    pair = linear_gaussian(orthogonal=False, dtype=torch.float64)
    return pair.model, pair.guide, pair.x


def functions() -> Pair:
    return function_model, function_guide, torch.randn(8, 3)


PAIRS = pytest.mark.parametrize("make", [nonlinear, linear, functions])


def vectorised(stock: type, particles: int, **options: float) -> pyro.infer.ELBO:
    return stock(
        num_particles=particles,
        vectorize_particles=particles > 1,
        max_plate_nesting=1,
        **options,
    )


@PAIRS
@pytest.mark.parametrize("particles", [1, 5])
def test_elbo_is_trace_elbo(make: Callable[[], Pair], particles: int) -> None:
    assert_same(ELBO(particles), vectorised(Trace_ELBO, particles), *make())


@PAIRS
@pytest.mark.parametrize("particles", [1, 5])
def test_elbo_with_analytic_kl_is_trace_mean_field_elbo(
    make: Callable[[], Pair], particles: int
) -> None:
    ours = ELBO(particles, analytic_kl=True)
    assert_same(ours, vectorised(TraceMeanField_ELBO, particles), *make())


@PAIRS
@pytest.mark.parametrize("particles", [2, 5])
def test_iwae_is_renyi_elbo_of_order_zero(make: Callable[[], Pair], particles: int) -> None:
    assert_same(IWAE(particles), vectorised(RenyiELBO, particles, alpha=0), *make())


@pytest.mark.parametrize("stock", [Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO])
def test_elbo_of_a_hierarchy_is_every_stock_elbo(stock: type) -> None:
    model, guide, x = *hierarchical_pair(), torch.randn(9)
    ours = ELBO(analytic_kl=stock is TraceMeanField_ELBO)
    assert_same(ours, stock(max_plate_nesting=1), model, guide, x)


# --- SVI, modules, Predictive, traces, NUTS ----------------------------------------------------


@pytest.mark.parametrize(
    "objective",
    [
        ELBO(),
        ELBO(3, analytic_kl=True, beta=0.5, free_bits=0.1),
        IWAE(4),
        Trace_ELBO(),
        TraceMeanField_ELBO(),
        RenyiELBO(alpha=0, num_particles=4, vectorize_particles=True, max_plate_nesting=1),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_svi_trains_a_vae(objective: pyro.infer.ELBO) -> None:
    vae = bernoulli_vae()
    x = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]).repeat(10, 1)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.02}), objective)
    losses = [svi.step(x) for _ in range(60)]
    # 60 steps of Adam take the loss from about 20·6·log 2 ≈ 83 nats to well below.
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert isinstance(svi.evaluate_loss(x), float)


def test_svi_steps_equal_those_with_stock_trace_elbo() -> None:
    finals = []
    for objective in (ELBO(), Trace_ELBO()):
        pyro.clear_param_store()
        pyro.set_rng_seed(1)
        vae = bernoulli_vae()
        x = torch.rand(8, 6).round()
        svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.02}), objective)
        finals.append(([svi.step(x) for _ in range(5)], vae.state_dict()))
    torch.testing.assert_close(finals[0], finals[1])


@pytest.mark.parametrize(
    "objective", [ELBO(2), IWAE(3), Trace_ELBO()], ids=lambda o: type(o).__name__
)
def test_an_objective_makes_a_loss_module_for_torch_optimisers(objective: Objective) -> None:
    vae = bernoulli_vae()
    x = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]).repeat(10, 1)
    loss = objective(vae.model, vae.guide)
    assert {id(p) for p in loss.parameters()} == {id(p) for p in vae.parameters()}
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        value = loss(x)
        value.backward()
        optimiser.step()
        losses.append(value.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_predictive_draws_from_the_prior_and_from_the_posterior() -> None:
    vae, x = bernoulli_vae(), torch.rand(8, 6).round()
    unconditioned = poutine.uncondition(vae.model)
    prior = Predictive(unconditioned, num_samples=11, parallel=True)(x)
    assert (prior["z"].shape, prior["x"].shape) == ((11, 8, 2), (11, 8, 6))
    posterior = Predictive(unconditioned, guide=vae.guide, num_samples=11)(x)
    assert posterior["x"].shape == (11, 8, 6)
    assert set(posterior["x"].unique().tolist()) == {0.0, 1.0}


def test_a_trace_has_the_sites_z_and_x_in_the_plate_data() -> None:
    vae, x = bernoulli_vae(), torch.rand(8, 6).round()
    trace = poutine.trace(vae.model).get_trace(x)
    trace.compute_log_prob()
    for site in ("z", "x"):
        assert [(f.name, f.dim) for f in trace.nodes[site]["cond_indep_stack"]] == [("data", -1)]
        assert trace.nodes[site]["log_prob"].shape == (8,)
    assert trace.nodes["x"]["is_observed"]


def test_nuts_samples_the_exact_posterior_mean() -> None:
    pair = linear_gaussian(latent_dim=1, data_dim=3, num_data=2, dtype=torch.float64)
    pair.eval()
    mcmc = MCMC(
        NUTS(pair.model, max_tree_depth=4, jit_compile=False),
        num_samples=60,
        warmup_steps=20,
        disable_progbar=True,
    )
    mcmc.run(pair.x)
    z = mcmc.get_samples()["z"]
    assert z.shape == (60, 2, 1)
    p = pair.posterior(pair.x)
    # 60 draws, at least some 20 effective ones: 6 of their standard errors, < 1e-8 by chance.
    assert ((z.mean(0) - p.mean).abs() < 6 * p.stddev / 20**0.5).all()


@pytest.mark.parametrize("stock", [Trace_ELBO, TraceMeanField_ELBO])
def test_stock_elbos_on_a_floating_prior(stock: type) -> None:
    vae: VAE = bernoulli_vae(FloatingPrior(2))
    x = torch.rand(8, 6).round()
    ours = ELBO(analytic_kl=stock is TraceMeanField_ELBO)
    assert_same(ours, stock(max_plate_nesting=1), vae.model, vae.guide, x)
    update_statistics(vae.model, vae.guide, x[:5])
    vae.eval()
    assert_same(ours, stock(max_plate_nesting=1), vae.model, vae.guide, x)


def test_nuts_runs_on_a_floating_prior_in_evaluation_mode() -> None:
    vae: VAE = bernoulli_vae(FloatingPrior(2))
    x = torch.rand(3, 6).round()
    update_statistics(vae.model, vae.guide, x)
    vae.eval()
    mcmc = MCMC(NUTS(vae.model, max_tree_depth=2), 3, warmup_steps=2, disable_progbar=True)
    mcmc.run(x)
    assert mcmc.get_samples()["z"].shape == (3, 3, 2)


def test_the_guides_parameters_are_not_the_models() -> None:
    vae = bernoulli_vae()
    model, guide = ({id(p) for p in part.parameters()} for part in (vae.model, vae.guide))
    assert model
    assert guide
    assert not model & guide
    assert isinstance(vae.model, nn.Module)
