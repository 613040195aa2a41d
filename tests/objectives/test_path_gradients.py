"""DReG and sticking the landing: in expectation the gradient that they replace, with less noise."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import ELBO, IWAE, DReG, Objective, PairError, StickingTheLanding
from pyro_vae.evaluation import gradient_snr
from pyro_vae.testing import linear_gaussian
from tests.objectives.pairs import function_guide, function_model

RUNS = 60


class TwoLevels(nn.Module):
    """z1 ~ q(z1|x), z2 ~ q(z2|z1, x): what a sample owes to an earlier one has a gradient, too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Linear(2, 2), nn.Linear(3, 2)
        self.slope = nn.Parameter(torch.tensor([0.8, -0.6, 0.5]))
        self.double()

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros_like(x[:, 0]), 1.0))
            z1 = pyro.sample("z1", dist.Normal(self.slope[0] * z2, 0.7))
            mean = torch.stack([self.slope[1] * z1, self.slope[2] * z1.tanh()], -1)
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            mean, log_scale = self.first(x).unbind(-1)
            z1 = pyro.sample("z1", dist.Normal(mean, log_scale.exp()))
            both = torch.cat([x.expand(*z1.shape, 2), z1[..., None]], -1)
            mean, log_scale = self.second(both).unbind(-1)
            pyro.sample("z2", dist.Normal(mean, log_scale.exp()))


def gradients(objective: Objective, pair: Any, x: Tensor) -> Tensor:
    """One gradient a run of the mean loss over a batch of copies, [runs, parameters]."""
    parameters = [p for p in pair.parameters() if p.requires_grad]
    found = []
    for _ in range(RUNS):
        loss = objective.differentiable_loss(pair.model, pair.guide, x) / len(x)
        flat = torch.autograd.grad(loss, parameters)
        found.append(torch.cat([gradient.flatten() for gradient in flat]))
    return torch.stack(found)


@pytest.mark.parametrize("num_particles", [1, 4])
@pytest.mark.parametrize(
    ("one", "other"), [(IWAE, DReG), (ELBO, StickingTheLanding)], ids=["DReG", "STL"]
)
@pytest.mark.parametrize(
    "make",
    [TwoLevels, lambda: linear_gaussian(orthogonal=False, dtype=torch.float64)],
    ids=["two levels", "linear"],
)
def test_the_gradient_is_the_same_in_expectation(
    make: Any, one: type, other: type, num_particles: int
) -> None:
    # About 20 parameters a case, 8 cases: a false alarm at 6 standard errors once in 10⁶.
    torch.manual_seed(0)
    pair = make()
    x = torch.randn(1, 2 if isinstance(pair, TwoLevels) else 5, dtype=torch.float64)
    x = x.repeat(1000, 1)
    plain, along = (gradients(kind(num_particles), pair, x) for kind in (one, other))
    error = ((plain.var(0) + along.var(0)) / RUNS).sqrt()
    difference = plain.mean(0) - along.mean(0)
    assert (difference.abs() <= 6 * error + 1e-12).all(), difference / error
    assert (plain.mean(0).abs() > 10 * error).any()  # there is something to agree on


@pytest.mark.parametrize("objective", [DReG(1), DReG(5), StickingTheLanding(3)], ids=repr)
def test_the_guides_gradient_vanishes_for_every_draw_where_the_guide_is_exact(
    objective: Objective,
) -> None:
    pair = linear_gaussian(dtype=torch.float64)
    loss = objective.differentiable_loss(pair.model, pair.guide, pair.x)
    of_guide = torch.autograd.grad(loss, list(pair.guide.parameters()))
    assert all(gradient.abs().max() < 1e-10 for gradient in of_guide)
    plain = ELBO().differentiable_loss(pair.model, pair.guide, pair.x)
    of_guide = torch.autograd.grad(plain, list(pair.guide.parameters()))
    assert any(gradient.abs().max() > 1e-2 for gradient in of_guide)


@pytest.mark.parametrize(
    ("one", "other"), [(IWAE, DReG), (ELBO, StickingTheLanding)], ids=["DReG", "STL"]
)
def test_the_value_is_that_of_the_bound_on_the_same_draws(one: type, other: type) -> None:
    pair = linear_gaussian(orthogonal=False)
    values = []
    for kind in (one, other):
        pyro.set_rng_seed(5)
        objective = kind(7)
        values.append(objective.loss(pair.model, pair.guide, pair.x))
        pyro.set_rng_seed(5)
        values.append(objective.differentiable_loss(pair.model, pair.guide, pair.x).item())
        pyro.set_rng_seed(5)
        values.append(-objective.per_datum(pair.model, pair.guide, pair.x).sum().item())
    assert values == pytest.approx([values[0]] * 6, rel=1e-6)


@pytest.mark.parametrize("objective", [DReG(4), StickingTheLanding(4)], ids=repr)
def test_plain_functions_with_pyro_param_do_too(objective: Objective) -> None:
    x = torch.randn(6, 3)
    loss = objective.loss_and_grads(function_model, function_guide, x)
    assert math.isfinite(loss)
    for name, parameter in pyro.get_param_store().named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_scale_multiplies_the_gradient_as_it_multiplies_the_loss() -> None:
    pair = linear_gaussian(orthogonal=False, dtype=torch.float64)

    def scaled(program: Any) -> Any:
        return pyro.poutine.scale(program, scale=3.0)

    found = []
    for model, guide in [(pair.model, pair.guide), (scaled(pair.model), scaled(pair.guide))]:
        pyro.set_rng_seed(1)
        loss = DReG(5).differentiable_loss(model, guide, pair.x)
        flat = torch.autograd.grad(loss, list(pair.parameters()))
        found.append(torch.cat([g.flatten() for g in (loss[None], *flat)]))
    torch.testing.assert_close(found[1], 3 * found[0])


@pytest.mark.parametrize("objective", [DReG(3), StickingTheLanding()], ids=repr)
def test_a_discrete_latent_is_refused_by_name(objective: Objective) -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("switch", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("switch", dist.Bernoulli(torch.tensor(0.3, requires_grad=True)))

    with pytest.raises(PairError, match=r"reparameterised sample .* got none at \['switch'\]"):
        objective.differentiable_loss(model, guide, torch.zeros(3))


def test_a_prefix_that_is_no_parameters_is_refused() -> None:
    pair = linear_gaussian()
    found = gradient_snr(IWAE(2), pair.model, pair.guide, pair.x, num_gradients=2)
    with pytest.raises(ValueError, match=r"prefix: expected the beginning.*got 'encoder'"):
        found.ratio("encoder")


def test_more_particles_drown_iwaes_guide_gradient_in_noise_and_raise_dregs() -> None:
    """Rainforth et al. (2018): the guide's ratio falls as 1/√K for IWAE, and rises as √K for DReG:
    from K = 1 to 64 by a factor of 8."""
    pair = linear_gaussian(orthogonal=False, dtype=torch.float64)
    with torch.no_grad():
        weight = pair.guide.encoder.weight
        weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        pair.guide.encoder.bias[2:] += 0.6  # wider than the posterior: the weights are bounded
    x = pair.x[:1].repeat(8, 1)
    ratio = {}
    for kind in (IWAE, DReG):
        for k in (1, 64):
            found = gradient_snr(kind(k), pair.model, pair.guide, x, num_gradients=300)
            ratio[kind, k] = found.ratio("guide").mean().item()
    # The seed is fixed; other seeds move a mean over 24 parameters by a few per cent.
    assert 4 < ratio[IWAE, 1] / ratio[IWAE, 64] < 16
    assert 4 < ratio[DReG, 64] / ratio[DReG, 1] < 16
