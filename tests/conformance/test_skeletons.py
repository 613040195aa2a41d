"""The skeletons of docs/skeletons: each is one file, and one line in a registry."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import RenyiELBO

from pyro_vae import ELBO, IWAE, VAE, Objective, ShapeError
from pyro_vae.evaluation import bound_terms, log_evidence
from pyro_vae.testing import (
    check_guide,
    check_likelihood,
    check_objective,
    check_prior,
    linear_gaussian,
)
from tests.registry import DATA, GUIDES, LATENT, LIKELIHOODS, PRIORS, decoder, encoder

FOLDER = Path(__file__).parents[2] / "docs" / "skeletons"


def skeleton(name: str, cls: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"skeleton_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, cls)


# One line each, as in tests/registry.py.
LAPLACE_PRIOR = lambda: skeleton("prior", "LaplacePrior")(LATENT)  # noqa: E731
LAPLACE = lambda: skeleton("likelihood", "LaplaceLikelihood")(decoder())  # noqa: E731
LOW_RANK = lambda: skeleton("guide", "LowRankNormalGuide")(encoder(3 * LATENT), LATENT)  # noqa: E731
RENYI = lambda k: skeleton("objective", "RenyiBound")(k)  # noqa: E731


def test_the_folder_has_no_skeleton_that_is_not_tested() -> None:
    names = {path.stem for path in FOLDER.glob("*.py")}
    assert names == {"prior", "likelihood", "guide", "objective"}


def test_the_prior_keeps_the_contract() -> None:
    check_prior(LAPLACE_PRIOR())
    z = LAPLACE_PRIOR()().sample((20_000,))
    # The standard error of the variance is √(5/20 000) < 0.016: 6 of them, by chance < 10⁻⁸.
    torch.testing.assert_close(z.var(0), torch.ones(LATENT), rtol=0, atol=0.1)


def test_the_likelihood_keeps_the_contract() -> None:
    check_likelihood(LAPLACE(), LATENT, torch.rand(6, DATA))


def test_the_guide_keeps_the_contract() -> None:
    check_guide(LOW_RANK(), LATENT, torch.rand(6, DATA))


def test_the_guide_says_which_encoder_it_wants() -> None:
    guide = skeleton("guide", "LowRankNormalGuide")(encoder(5), LATENT)
    with pytest.raises(ShapeError, match="expected 6 encoder outputs"):
        guide.posterior(torch.rand(6, DATA))


def test_the_objective_keeps_the_contract() -> None:
    check_objective(RENYI)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_the_objective_is_stock_renyi_elbo(alpha: float) -> None:
    pair = linear_gaussian(orthogonal=False, dtype=torch.float64)
    ours = skeleton("objective", "RenyiBound")(4, alpha=alpha)
    stock = RenyiELBO(alpha=alpha, num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    losses = []
    for objective in (ours, stock, IWAE(4)):
        pyro.set_rng_seed(2)
        losses.append(objective.loss(pair.model, pair.guide, pair.x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert (losses[0] == pytest.approx(losses[2], rel=1e-10)) is (alpha == 0)


@pytest.mark.parametrize(
    ("part", "objective"),
    [
        ({"prior": LAPLACE_PRIOR}, ELBO()),
        ({"likelihood": LAPLACE}, ELBO(analytic_kl=True)),
        ({"guide": LOW_RANK}, ELBO(2)),
        ({}, RENYI(4)),
        ({"prior": LAPLACE_PRIOR, "likelihood": LAPLACE, "guide": LOW_RANK}, RENYI(4)),
    ],
    ids=["prior", "likelihood", "guide", "objective", "all"],
)
def test_a_vae_with_a_skeleton_trains_and_is_evaluated(
    part: dict[str, Callable[[], Any]], objective: Objective
) -> None:
    ordinary = {
        "prior": PRIORS["StandardNormalPrior"],
        "likelihood": LIKELIHOODS["BernoulliLikelihood"],
        "guide": GUIDES["NormalGuide"],
    }
    vae = VAE(**{role: make() for role, make in (ordinary | part).items()})
    x = torch.tensor([[1.0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]).repeat(10, 1)
    loss = objective(vae.model, vae.guide)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
    losses = []
    for _ in range(50):
        optimiser.zero_grad()
        value = loss(x)
        value.backward()
        optimiser.step()
        losses.append(value.item())
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
    assert log_evidence(vae.model, vae.guide, x, num_samples=10).value.isfinite().all()
    terms = bound_terms(vae.model, vae.guide, x, analytic_kl=False)
    assert terms.bound.shape == (20,)
    assert vae.generate(3).shape == vae.reconstruct(x[:3]).shape == (3, DATA)
