"""Posteriors on intervals, simplices and half-lines: what would be scored wrongly is refused."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import (
    ELBO,
    IWAE,
    VAE,
    DirichletGuide,
    DReG,
    FixedPrior,
    FlowGuide,
    FlowPrior,
    GammaGuide,
    NormalGuide,
    NormalLikelihood,
    Objective,
    OptimalVariance,
    PairError,
    StandardNormalPrior,
    StickingTheLanding,
    SubstitutionGuide,
    UniformGuide,
)
from pyro_vae.distributions import Flip

PATHS = pytest.mark.parametrize("objective", [DReG(3), StickingTheLanding(3)], ids=repr)
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def vae(guide: Any, prior: Any = None, **likelihood: Any) -> VAE:
    return VAE(
        prior=StandardNormalPrior(2) if prior is None else prior,
        likelihood=NormalLikelihood(nn.Linear(2, 4), **likelihood),
        guide=guide,
    )


class Shift(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(4, 2)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return self.mean(x) + noise


def uniform() -> UniformGuide:
    return UniformGuide(nn.Linear(4, 4))


# --- the score function's mean where the support moves ------------------------------------------


@PATHS
@pytest.mark.parametrize(
    "make",
    [
        uniform,
        lambda: FlowGuide(uniform(), [Flip()]),
        lambda: SubstitutionGuide(
            shift := Shift(),
            FixedPrior(dist.Uniform, low=torch.zeros(2), high=1.0),
            lambda x, z: z - shift.mean(x),
        ),
    ],
    ids=["uniform", "flow", "substitution"],
)
def test_path_gradients_refuse_uniform_noise(objective: Objective, make: Any) -> None:
    pair = vae(make())
    with pytest.raises(PairError, match=r"an interval at \['z'\].* Use ELBO or IWAE"):
        objective.differentiable_loss(pair.model, pair.guide, X)


@PATHS
def test_without_a_gradient_their_bound_is_right_for_it(objective: Objective) -> None:
    pair = vae(uniform())
    assert objective.loss(pair.model, pair.guide, X) > 0


# --- weights that are not those of a sample alone -----------------------------------------------


def test_dreg_refuses_a_variance_estimated_from_all_samples() -> None:
    """Its guide's gradient would be another one: 0.98 for IWAE's 1.23 on a pair of numbers."""
    pair = vae(NormalGuide(nn.Linear(4, 4)), variance=OptimalVariance())
    with pytest.raises(PairError, match=r"likelihood.variance.squared_error.* Use IWAE"):
        DReG(3).differentiable_loss(pair.model, pair.guide, X)
    IWAE(3).differentiable_loss(pair.model, pair.guide, X)
    StickingTheLanding(3).differentiable_loss(pair.model, pair.guide, X)


def test_dreg_refuses_batch_normalisation_while_it_trains() -> None:
    pair = vae(NormalGuide(nn.Linear(4, 4)))
    pair.model.likelihood.decoder = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    with pytest.raises(PairError, match=r"likelihood.decoder.1"):
        DReG(3).differentiable_loss(pair.model, pair.guide, X)


# --- supports that do not fit -------------------------------------------------------------------


@pytest.mark.parametrize("objective", [ELBO(), IWAE(3), ELBO(analytic_kl=True)], ids=repr)
def test_a_simplex_beside_all_of_space_is_refused(objective: Objective) -> None:
    """Else −0.1 nats were called a bound on a log p(x) of −3.5."""
    pair = vae(DirichletGuide(nn.Linear(4, 2)))
    with pytest.raises(PairError, match="site 'z': expected prior and guide both on the simplex"):
        objective.loss(pair.model, pair.guide, X)


def test_both_on_the_simplex_are_a_bound() -> None:
    """log p(x) by quadrature over the one free coordinate."""
    pair = vae(
        DirichletGuide(nn.Linear(4, 2)), FixedPrior(dist.Dirichlet, concentration=torch.ones(2) * 2)
    ).double()
    x = X[:1].double()
    u = torch.linspace(1e-6, 1 - 1e-6, 20_001, dtype=torch.float64)
    z = torch.stack([u, 1 - u], -1)
    log_joint = pair.prior().log_prob(z) + pair.likelihood(z).log_prob(x)
    exact = torch.trapezoid(log_joint.exp(), u).log().item()
    bound = -IWAE(20_000).loss(pair.model, pair.guide, x)
    # The guide is near the prior: weights vary by a few tenths, an error of some 0.005 nats.
    assert bound == pytest.approx(exact, abs=0.05)


def test_samples_off_the_priors_support_name_site_and_support() -> None:
    pair = vae(
        NormalGuide(nn.Linear(4, 4)), FixedPrior(dist.Gamma, concentration=torch.ones(2), rate=1.0)
    )
    with pytest.raises(PairError, match=r"site 'z': .*prior's support.*such as GammaGuide"):
        ELBO(20).loss(pair.model, pair.guide, X)


def test_a_guide_on_the_priors_support_is_taken() -> None:
    pair = vae(
        GammaGuide(nn.Linear(4, 4)), FixedPrior(dist.Gamma, concentration=torch.ones(2), rate=1)
    )
    assert ELBO(20).loss(pair.model, pair.guide, X) > 0


def test_a_model_without_latents_has_nothing_to_follow() -> None:
    slope = torch.tensor(0.5, requires_grad=True)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(slope, 1.0).expand([4]).to_event(1), obs=x)

    loss = StickingTheLanding().differentiable_loss(model, lambda x: None, X)
    (gradient,) = torch.autograd.grad(loss, slope)
    torch.testing.assert_close(gradient, (slope - X).sum())


@pytest.mark.parametrize(
    "transforms",
    [
        lambda: [dist.transforms.affine_autoregressive(3, [4])],
        lambda: [dist.transforms.neural_autoregressive(2, [4])],
    ],
)
def test_a_prior_of_transforms_that_cannot_score_is_refused(transforms: Any) -> None:
    with pytest.raises(ValueError, match="transforms: expected"):
        FlowPrior(2, transforms())
