"""Pairs that are no VAE: subsampling, masks, global sites, hierarchies, nested plates, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO

from pyro_vae import (
    BILBO,
    ELBO,
    IWAE,
    MIWAE,
    DReG,
    FloatingPriorELBO,
    Objective,
    PairError,
    Renyi,
    StickingTheLanding,
)
from pyro_vae.objectives import run_particles
from tests.objectives.pairs import (
    assert_same,
    bernoulli_vae,
    global_pair,
    hierarchical_pair,
    nested_pair,
    scalar_pair,
    value_and_gradients,
)

pytestmark = pytest.mark.usefixtures("float64")

BOUNDS = pytest.mark.parametrize(
    "objective",
    [
        ELBO(6),
        ELBO(6, analytic_kl=True),
        IWAE(6),
        MIWAE(6, num_groups=2),
        Renyi(6, alpha=0.5),
        Renyi(6, alpha=2.0),
        DReG(6),
        StickingTheLanding(6),
    ],
    ids=repr,
)
WEIGHTED = pytest.mark.parametrize(
    "objective", [IWAE(4), MIWAE(4, num_groups=2), Renyi(4, alpha=0.5), DReG(4)], ids=repr
)


def stock(cls: type, particles: int, nesting: int = 1, **options: float) -> pyro.infer.ELBO:
    return cls(
        num_particles=particles,
        vectorize_particles=True,
        max_plate_nesting=nesting,
        **options,
    )


# --- subsampling: N/B stands outside the logarithm ---------------------------------------------


@BOUNDS
def test_a_subsampled_loss_is_n_over_b_times_the_sum_over_its_data(objective: Objective) -> None:
    x, index = torch.randn(12), torch.tensor([1, 4, 9])
    value, gradients = value_and_gradients(objective, *scalar_pair(index=index), x)
    alone, alone_gradients = value_and_gradients(objective, *scalar_pair(), x[index])
    torch.testing.assert_close(value, 12 / 3 * alone)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, 12 / 3 * alone_gradients[name])


def test_subsampled_iwae_is_a_bound_where_renyi_elbo_is_another_number() -> None:
    x, index = 3 * torch.randn(12), torch.tensor([1, 4, 9])
    pair = scalar_pair(index=index)
    exact = dist.Normal(0.0, (1 + 1.3**2) ** 0.5).log_prob(x[index]).sum().item()
    ours, renyi = (
        torch.tensor([-value_and_gradients(bound, *pair, x, seed=i)[0] for i in range(40)])
        for bound in (IWAE(6), stock(RenyiELBO, 6, alpha=0))
    )
    # 5 standard errors, t with 39 degrees of freedom: a false alarm about once in 10⁵.
    assert ours.mean() < 12 / 3 * exact + 5 * ours.std() / 40**0.5
    assert (ours - renyi).abs().min() > 0.1


@pytest.mark.parametrize("objective", [ELBO(2), IWAE(2)])
def test_pyros_own_subsample_is_drawn_once_for_guide_and_model(objective: ELBO | IWAE) -> None:
    particles = objective.particles(*scalar_pair(size=4), torch.randn(12))
    assert particles.scale == 3.0
    assert objective.bound(particles).shape == (4,)


@pytest.mark.parametrize("particles", [1, 6])
def test_subsampled_elbo_is_trace_elbo(particles: int) -> None:
    x, index = torch.randn(12), torch.tensor([1, 4, 9])
    ours = ELBO(particles)
    assert_same(ours, stock(Trace_ELBO, particles), *scalar_pair(index=index), x)


def test_poutine_scale_multiplies_the_bound() -> None:
    x = torch.randn(7)
    model, guide = scalar_pair()
    plain, _ = value_and_gradients(IWAE(6), model, guide, x)
    scaled, _ = value_and_gradients(
        IWAE(6), poutine.scale(model, scale=2.5), poutine.scale(guide, scale=2.5), x
    )
    torch.testing.assert_close(scaled, 2.5 * plain)


# --- masks --------------------------------------------------------------------------------------


@BOUNDS
def test_masked_data_count_nothing_and_the_others_are_as_without_them(
    objective: Objective,
) -> None:
    x, observed = torch.randn(7), torch.tensor([True, True, False, True, False, True, True])
    bound = objective.bound(objective.particles(*scalar_pair(observed=observed), x))
    assert (bound[~observed] == 0).all()
    assert (bound[observed] != 0).all()
    pyro.set_rng_seed(5)
    masked = objective.bound(objective.particles(*scalar_pair(observed=observed), x))
    pyro.set_rng_seed(5)
    plain = objective.bound(objective.particles(*scalar_pair(), x))
    torch.testing.assert_close(masked[observed], plain[observed])


@pytest.mark.parametrize("particles", [1, 6])
def test_masked_bounds_are_stock_pyros(particles: int) -> None:
    pair = scalar_pair(observed=torch.tensor([True, False, True, True]))
    x = torch.randn(4)
    assert_same(ELBO(particles), stock(Trace_ELBO, particles), *pair, x)
    mean_field = stock(TraceMeanField_ELBO, particles)
    assert_same(ELBO(particles, analytic_kl=True), mean_field, *pair, x)
    if particles > 1:
        assert_same(IWAE(particles), stock(RenyiELBO, particles, alpha=0), *pair, x)


def test_floating_bounds_refuse_a_masked_latent() -> None:
    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", 3), poutine.mask(mask=torch.tensor([True, False, True])):
            z = pyro.sample("z", dist.Normal(torch.zeros(3, 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", 3), poutine.mask(mask=torch.tensor([True, False, True])):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    for objective in (BILBO(), FloatingPriorELBO()):
        with pytest.raises(PairError, match="unmasked"):
            objective.loss(model, guide, torch.randn(3, 2))


# --- global sites -------------------------------------------------------------------------------


@pytest.mark.parametrize("particles", [1, 6])
@pytest.mark.parametrize("index", [None, torch.tensor([0, 3])], ids=["whole", "subsampled"])
def test_elbo_with_a_global_site_is_trace_elbo(particles: int, index: torch.Tensor | None) -> None:
    pair = global_pair(index=index)
    assert_same(ELBO(particles), stock(Trace_ELBO, particles), *pair, torch.randn(6))


def test_iwae_with_a_global_site_is_renyi_elbo() -> None:
    pair, x = global_pair(), torch.randn(6)
    assert_same(IWAE(4), stock(RenyiELBO, 4, alpha=0), *pair, x)


@WEIGHTED
def test_weights_with_a_global_site_beside_a_subsample_are_refused_with_the_reason(
    objective: Objective,
) -> None:
    with pytest.raises(PairError, match="subsampled plate beside a site outside it"):
        objective.loss(*global_pair(index=torch.tensor([0, 3])), torch.randn(6))


@WEIGHTED
def test_weights_with_a_global_site_take_the_batch_as_one_datum(objective: Objective) -> None:
    pair, x = global_pair(), torch.randn(6)
    assert objective.bound(objective.particles(*pair, x)).shape == (1,)


# --- several latents ----------------------------------------------------------------------------


@pytest.mark.parametrize("particles", [1, 6])
def test_a_hierarchy_is_scored_as_stock_pyro_scores_it(particles: int) -> None:
    pair, x = hierarchical_pair(), torch.randn(5)
    assert_same(ELBO(particles), stock(Trace_ELBO, particles), *pair, x)
    mean_field = stock(TraceMeanField_ELBO, particles)
    assert_same(ELBO(particles, analytic_kl=True), mean_field, *pair, x)
    if particles > 1:
        assert_same(IWAE(particles), stock(RenyiELBO, particles, alpha=0), *pair, x)


def test_sites_in_another_order_have_a_sampled_kl_but_no_closed_one() -> None:
    pair, x = hierarchical_pair(top_first=False), torch.randn(5)
    assert_same(ELBO(6), stock(Trace_ELBO, 6), *pair, x)
    with pytest.raises(PairError, match="order"):
        ELBO(analytic_kl=True).loss(*pair, x)


# --- plates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [ELBO(5), ELBO(5, analytic_kl=True), IWAE(5)], ids=repr)
def test_nested_plates_are_scored_as_stock_pyro_scores_them(objective: ELBO | IWAE) -> None:
    objective.max_plate_nesting = 2
    if isinstance(objective, IWAE):
        expected = stock(RenyiELBO, 5, nesting=2, alpha=0)
    else:
        expected = stock(TraceMeanField_ELBO if objective.analytic_kl else Trace_ELBO, 5, 2)
    assert_same(objective, expected, *nested_pair(), torch.randn(4, 3))


def test_the_datum_of_nested_plates_is_the_group_that_all_sites_share() -> None:
    objective = IWAE(5, max_plate_nesting=2)
    particles = objective.particles(*nested_pair(), torch.randn(4, 3))
    assert particles.log_weight.shape == (5, 3)
    assert objective.bound(particles).shape == (3,)


def test_particles_stand_left_of_the_batch() -> None:
    vae = bernoulli_vae()
    particles = run_particles(vae.model, vae.guide, torch.rand(4, 6).round(), num_particles=3)
    (z,) = particles.latents
    assert z.value.shape == (3, 4, 2)
    assert particles.log_weight.shape == (3, 4)
    assert not torch.equal(z.value[0], z.value[1])


def test_one_particle_and_many_read_the_same_numbers() -> None:
    """Each particle's log-weight is what stock traces give for its sample."""
    vae, x = bernoulli_vae(), torch.rand(4, 6).round()
    particles = run_particles(vae.model, vae.guide, x, num_particles=3)
    (z,) = particles.latents
    for k in range(3):
        model = poutine.trace(poutine.condition(vae.model, data={"z": z.value[k]})).get_trace(x)
        guide = poutine.trace(poutine.condition(vae.guide, data={"z": z.value[k]})).get_trace(x)
        expected = model.log_prob_sum() - guide.log_prob_sum()
        torch.testing.assert_close(particles.log_weight[k].sum(), expected)


@pytest.mark.parametrize("explicit", [True, False], ids=["dims given", "dims allocated"])
def test_plates_deeper_than_max_plate_nesting_are_refused(explicit: bool) -> None:
    dims = (-1, -2) if explicit else (None, None)

    def program(x: torch.Tensor, observe: bool) -> None:
        with (
            pyro.plate("outer", x.shape[1], dim=dims[0]),
            pyro.plate("inner", x.shape[0], dim=dims[1]),
        ):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            if observe:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(PairError, match="max_plate_nesting"):
        run_particles(
            lambda x: program(x, True),
            lambda x: program(x, False),
            torch.randn(4, 3),
            num_particles=2,
        )


# --- pairs that cannot be scored ----------------------------------------------------------------


def model_of_two(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        a, b = (pyro.sample(name, dist.Normal(0.0, 1.0)) for name in "ab")
        pyro.sample("x", dist.Normal(a + b, 1.0), obs=x)


def guide_of(*names: str, **infer: Any) -> Callable[[torch.Tensor], None]:
    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            for name in names:
                pyro.sample(name, dist.Normal(0.0, 1.0), infer=infer)

    return guide


@pytest.mark.parametrize("objective", [ELBO(), IWAE(3), BILBO(), FloatingPriorELBO()], ids=repr)
@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (guide_of("a"), r"none for \['b'\]"),
        (guide_of("a", "b", "c"), r"none for \['c'\]"),
        (guide_of("a", "b", enumerate="parallel"), "enumerat"),
    ],
    ids=["missing", "extra", "enumerate"],
)
def test_a_pair_that_would_be_scored_wrongly_is_refused(
    objective: ELBO, guide: Callable[[torch.Tensor], None], message: str
) -> None:
    with pytest.raises(PairError, match=message):
        objective.loss(model_of_two, guide, torch.randn(3))


def test_a_guide_that_observes_is_refused() -> None:
    def guide(x: torch.Tensor) -> None:
        guide_of("a", "b")(x)
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.tensor(0.0))

    with pytest.raises(PairError, match="observed"):
        ELBO().loss(model_of_two, guide, torch.randn(3))


def test_an_auxiliary_site_of_the_guide_is_allowed_but_has_no_closed_kl() -> None:
    def guide(x: torch.Tensor) -> None:
        guide_of("a", "b")(x)
        pyro.sample("aux", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})

    x = torch.randn(3)
    pyro.set_rng_seed(2)
    particles = ELBO().particles(model_of_two, guide, x)
    assert [site.name for site in particles.latents if site.p is None] == ["aux"]
    with pytest.raises(PairError, match="auxiliary"):
        ELBO(analytic_kl=True).loss(model_of_two, guide, x)


def test_analytic_kl_without_a_closed_form_is_refused() -> None:
    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("a", dist.StudentT(5.0, 0.0, 1.0))
            pyro.sample("b", dist.Normal(0.0, 1.0))

    with pytest.raises(PairError, match="closed form"):
        ELBO(analytic_kl=True).loss(model_of_two, guide, torch.randn(3))
    assert ELBO().loss(model_of_two, guide, torch.randn(3)) > 0


@pytest.mark.parametrize("objective", [BILBO(), FloatingPriorELBO()], ids=repr)
def test_floating_bounds_refuse_posteriors_that_are_not_normal(objective: ELBO) -> None:
    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Laplace(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Laplace(x, 1.0).to_event(1))

    with pytest.raises(PairError, match="diagonal Normal"):
        objective.loss(model, guide, torch.randn(3, 2))


@pytest.mark.parametrize("make", [ELBO, IWAE, BILBO, FloatingPriorELBO])
def test_fewer_than_one_particle_is_refused(make: type) -> None:
    with pytest.raises(ValueError, match="num_particles"):
        make(0)
