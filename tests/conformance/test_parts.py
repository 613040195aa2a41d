"""What every registered prior, likelihood, guide and objective keeps to."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import SVI
from torch import Tensor, nn

import pyro_vae.guides
import pyro_vae.likelihoods
import pyro_vae.objectives
import pyro_vae.priors
from pyro_vae import (
    ELBO,
    VAE,
    Guide,
    Likelihood,
    Objective,
    Pair,
    Prior,
    VampPrior,
    Variance,
    update_statistics,
)
from pyro_vae.testing import (
    check_guide,
    check_likelihood,
    check_objective,
    check_prior,
    linear_gaussian,
)
from tests.registry import (
    DATA,
    ELSEWHERE,
    GUIDES,
    LATENT,
    LIKELIHOODS,
    OBJECTIVES,
    PRIORS,
    PRIORS_FOR_GUIDES,
)

MODULES: dict[str, Callable[[], nn.Module]] = {**PRIORS, **LIKELIHOODS, **GUIDES}


def over(registry: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("make", registry.values(), ids=registry.keys())


def data(count: int = 6) -> Tensor:
    return torch.rand(count, DATA).round()


def vae_with(part: nn.Module) -> VAE:
    """A VAE with the part given, the others ordinary."""
    prior = PRIORS_FOR_GUIDES.get(type(part).__name__, PRIORS["StandardNormalPrior"])
    parts: dict[str, Any] = {
        "prior": prior(),
        "likelihood": LIKELIHOODS["BernoulliLikelihood"](),
        "guide": GUIDES["NormalGuide"](),
    }
    for role, kind in {"prior": Prior, "likelihood": Likelihood, "guide": Guide}.items():
        if isinstance(part, kind):
            parts[role] = part
    if isinstance(part, VampPrior):
        parts["guide"] = part.guide
    return VAE(**parts)


# --- contracts ----------------------------------------------------------------------------------


@over(PRIORS)
def test_prior(make: Callable[[], Prior]) -> None:
    check_prior(make())


@over(LIKELIHOODS)
@pytest.mark.parametrize("training", [True, False])
def test_likelihood(make: Callable[[], Likelihood], training: bool) -> None:
    check_likelihood(make().train(training), LATENT, data())


@over(GUIDES)
def test_guide(make: Callable[[], Guide]) -> None:
    check_guide(make(), LATENT, data())


@over(OBJECTIVES)
def test_objective(make: Callable[[int], Objective]) -> None:
    check_objective(make)


# --- modules ------------------------------------------------------------------------------------


@over(MODULES)
def test_a_state_dict_round_trip_gives_the_same_bounds(make: Callable[[], nn.Module]) -> None:
    vae, other = vae_with(make()), vae_with(make())
    other.load_state_dict(vae.state_dict())
    x = data()
    bounds = []
    for candidate in (vae, other):
        candidate.eval()
        pyro.set_rng_seed(1)
        bounds.append(ELBO().per_datum(candidate.model, candidate.guide, x))
    assert torch.equal(bounds[0], bounds[1])


@over(MODULES)
def test_a_deep_copy_is_apart_from_the_original(make: Callable[[], nn.Module]) -> None:
    part = make()
    twin = copy.deepcopy(part)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    for mine, theirs in zip(part.parameters(), twin.parameters(), strict=True):
        assert not torch.equal(mine, theirs)


@over(MODULES)
def test_the_repr_names_the_class(make: Callable[[], nn.Module]) -> None:
    part = make()
    assert repr(part).startswith(type(part).__name__)


@over(OBJECTIVES)
def test_the_repr_of_an_objective_has_its_settings(make: Callable[[int], Objective]) -> None:
    objective = make(3)
    particles = "num_particles=3" if "num_particles" in objective.settings() else ""
    assert repr(objective).startswith(f"{type(objective).__name__}({particles}")
    assert make(3).settings() == objective.settings()
    assert not particles or objective.settings() != make(4).settings()


@over(MODULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_vae_of_it_trains_with_svi_in_either_precision(
    make: Callable[[], nn.Module], dtype: torch.dtype
) -> None:
    vae = vae_with(make()).to(dtype)
    x = data().to(dtype)
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01}), ELBO(2))
    before = [parameter.clone() for parameter in vae.parameters()]
    for _ in range(3):
        svi.step(x)
    after = list(vae.parameters())
    assert all(p.dtype == dtype for p in after)
    assert all(not torch.equal(b, a) for b, a in zip(before, after, strict=True))
    update_statistics(vae.model, vae.guide, x)
    vae.eval()
    assert ELBO(2).per_datum(vae.model, vae.guide, x).dtype == dtype
    assert vae.generate(4).shape == (4, DATA)


@over(OBJECTIVES)
def test_an_objective_scores_any_number_of_data_one_by_one(
    make: Callable[[int], Objective],
) -> None:
    pair = linear_gaussian()
    for count in (1, 7):
        bound = make(3).per_datum(pair.model, pair.guide, pair.x[:count], batch_size=4)
        assert bound.shape == (count,)
        assert bound.isfinite().all()


@over(OBJECTIVES)
def test_an_objective_is_a_loss_of_either_precision(make: Callable[[int], Objective]) -> None:
    for dtype in (torch.float32, torch.float64):
        pair: Pair = linear_gaussian(dtype=dtype)
        loss = make(3)(pair.model, pair.guide)(pair.x)
        assert (loss.dtype, loss.shape) == (dtype, ())


# --- nothing is left out ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "registry", "base"),
    [
        (pyro_vae.priors, PRIORS, Prior),
        (pyro_vae.likelihoods, LIKELIHOODS, Likelihood),
        (pyro_vae.guides, GUIDES, Guide),
        (pyro_vae.objectives, OBJECTIVES, Objective),
    ],
    ids=["priors", "likelihoods", "guides", "objectives"],
)
def test_every_public_class_is_registered(
    folder: ModuleType, registry: dict[str, Any], base: type
) -> None:
    assert public(folder, base)
    built = {type(make(2) if base is Objective else make()) for make in registry.values()}
    missing = public(folder, base) - built - ELSEWHERE
    assert not missing, f"add {missing} to tests/registry.py"


def test_every_variance_is_registered_with_a_normal_likelihood() -> None:
    likelihoods = [make() for make in LIKELIHOODS.values()]
    built = {type(x.variance) for x in likelihoods if hasattr(x, "variance")}
    assert public(pyro_vae.likelihoods, Variance) == built


def public(folder: ModuleType, base: type) -> set[type]:
    members = (getattr(folder, name) for name in folder.__all__)
    return {
        member
        for member in members
        if isinstance(member, type) and issubclass(member, base) and not inspect.isabstract(member)
    }
