"""Every part of the registry, and every density, on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pyro_vae import Objective
from pyro_vae.data.densities import DENSITIES, Density
from pyro_vae.testing import linear_gaussian
from tests.conformance.test_parts import data, over, vae_with
from tests.registry import GUIDES, LIKELIHOODS, OBJECTIVES, PRIORS

pytestmark = pytest.mark.gpu


@over({**PRIORS, **LIKELIHOODS, **GUIDES})
def test_a_vae_of_it_has_a_bound_and_gradients_there(make: Callable[[], nn.Module]) -> None:
    vae, x = vae_with(make()).cuda(), data().cuda()
    loss = OBJECTIVES["ELBO"](3).differentiable_loss(vae.model, vae.guide, x)
    loss.backward()
    assert loss.isfinite()
    for name, parameter in vae.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.device.type == "cuda", name
            assert parameter.grad.isfinite().all(), name


@over(OBJECTIVES)
def test_an_objective_has_the_processors_value_of_an_exact_guide(
    make: Callable[[int], Objective],
) -> None:
    """At the exact posterior every draw of a bound is log p(x)."""
    pair = linear_gaussian(dtype=torch.float64).cuda()
    objective = make(3).for_evaluation()
    found = objective.per_datum(pair.model, pair.guide, pair.x)
    assert found.device.type == "cuda"
    error = 1e-9 if "analytic_kl=True" not in repr(objective) else 5.0  # one draw of log p(x|z)
    torch.testing.assert_close(found, pair.log_evidence(pair.x), rtol=0, atol=error)


@pytest.mark.parametrize("make", DENSITIES.values(), ids=DENSITIES.keys())
def test_a_density_samples_and_scores_there(make: Callable[[], Density]) -> None:
    density = make()
    x = density.sample(10_000, device="cuda")
    assert x.device.type == "cuda"
    log_p = density.log_prob(x.double())
    assert log_p.device.type == "cuda"
    # E[−log p] is the entropy: 6 standard errors, a false alarm once in 10⁸.
    error = log_p.std().item() / 100
    assert -log_p.mean().item() == pytest.approx(density.entropy, abs=6 * error + 1e-3)
