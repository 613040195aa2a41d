"""Priors: samples are from the density that scores them; what each is made of."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from torch import Tensor, nn

from pyro_vae import (
    ELBO,
    VAE,
    BernoulliLikelihood,
    FixedPrior,
    FlowGuide,
    FlowPrior,
    GammaGuide,
    MixturePrior,
    NormalGuide,
    Prior,
    ShapeError,
    VampPrior,
)
from tests.models.goodness import check_plane
from tests.registry import PRIORS


@pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS.keys())
def test_samples_are_from_the_density(make: Callable[[], Prior]) -> None:
    torch.manual_seed(0)
    prior = make().double()
    with torch.no_grad():
        check_plane(prior().log_prob, prior().sample((20_000,)), -6.0, 6.0)


def test_a_mixture_is_the_sum_of_its_components() -> None:
    torch.manual_seed(0)
    prior = MixturePrior(2, 3)
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.2, 1.0, -1.0]))
        prior.log_scale.normal_()
    z = torch.randn(5, 2)
    each = dist.Normal(prior.mean, prior.log_scale.exp()).to_event(1).log_prob(z[:, None])
    expected = (prior.logits.log_softmax(0) + each).logsumexp(-1)
    torch.testing.assert_close(prior().log_prob(z), expected)


def vamp_vae() -> VAE:
    torch.manual_seed(0)
    guide = NormalGuide(nn.Linear(4, 6))
    prior = VampPrior(guide, torch.rand(3, 4), nn.Sigmoid())
    return VAE(prior=prior, likelihood=BernoulliLikelihood(nn.Linear(3, 4)), guide=guide)


def test_a_vamp_prior_is_the_mean_of_the_guides_posteriors() -> None:
    vae = vamp_vae()
    assert isinstance(vae.prior, VampPrior)
    z = torch.randn(5, 3)
    inputs = vae.prior.pseudo_inputs.sigmoid()
    each = torch.stack([vae.guide.posterior(u[None]).log_prob(z) for u in inputs])
    torch.testing.assert_close(vae.prior().log_prob(z), each.logsumexp(0) - math.log(3))


def test_a_vamp_prior_goes_with_its_guide_and_a_copy_has_its_own() -> None:
    vae = vamp_vae().double()
    assert {name for name, _ in vae.prior.named_parameters()} == {"pseudo_inputs"}
    x = torch.rand(6, 4).double()
    loss = ELBO(2).differentiable_loss(vae.model, vae.guide, x)
    assert loss.dtype == torch.float64
    twin = copy.deepcopy(vae)
    with torch.no_grad():
        for parameter in twin.guide.parameters():
            parameter.zero_()
    inputs = twin.prior.pseudo_inputs.sigmoid()
    z = torch.randn(1, 3).double()
    expected = twin.guide.posterior(inputs[:1]).log_prob(z)  # all components are alike now
    torch.testing.assert_close(twin.prior().log_prob(z), expected)
    assert not torch.allclose(vae.prior().log_prob(z), expected)


def test_a_flow_prior_trains_and_can_then_be_copied() -> None:
    torch.manual_seed(0)
    vae = VAE(
        prior=FlowPrior(2, [transforms.spline_coupling(2, 1, [6], count_bins=4)]),
        likelihood=BernoulliLikelihood(nn.Linear(2, 4)),
        guide=NormalGuide(nn.Linear(4, 4)),
    )
    loss = ELBO().differentiable_loss(vae.model, vae.guide, torch.rand(6, 4))
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in vae.prior.parameters())
    twin, z = copy.deepcopy(vae), torch.randn(7, 2)
    torch.testing.assert_close(twin.prior().log_prob(z), vae.prior().log_prob(z))


def test_a_flow_without_inverse_is_no_prior() -> None:
    with pytest.raises(ValueError, match=r"transforms with an inverse.*got \['Planar'\]"):
        FlowPrior(2, [transforms.planar(2)])


def test_a_fixed_prior_is_the_family_that_was_given() -> None:
    prior = FixedPrior(dist.Gamma, concentration=torch.tensor([2.0, 3.0]), rate=1.5)
    z = torch.tensor([[0.5, 2.0]])
    expected = dist.Gamma(torch.tensor([2.0, 3.0]), torch.tensor(1.5)).log_prob(z).sum(-1)
    torch.testing.assert_close(prior().log_prob(z), expected)
    assert prior.double()().sample().dtype == torch.float64
    simplex = FixedPrior(dist.Dirichlet, concentration=torch.ones(3))
    assert simplex.latent_dim == 3


@pytest.mark.parametrize("concentration", [torch.tensor(1.0), torch.ones(2, 3)])
def test_a_fixed_prior_is_over_vectors(concentration: Tensor) -> None:
    with pytest.raises(ShapeError, match="one distribution over vectors"):
        FixedPrior(dist.Exponential, rate=concentration)


def test_a_gamma_guide_with_a_gamma_prior_has_a_closed_kl() -> None:
    torch.manual_seed(0)
    vae = VAE(
        prior=FixedPrior(dist.Gamma, concentration=torch.ones(2), rate=1.0),
        likelihood=BernoulliLikelihood(nn.Linear(2, 4)),
        guide=GammaGuide(nn.Linear(4, 4)),
    )
    x = torch.rand(1, 4).round()
    closed = ELBO(20_000, analytic_kl=True).loss(vae.model, vae.guide, x)
    sampled = ELBO(20_000).loss(vae.model, vae.guide, x)
    assert closed == pytest.approx(sampled, abs=0.1)  # the error of a mean of 20,000: 0.01


@pytest.mark.parametrize("count", [0, -1])
def test_a_mixture_needs_a_component(count: int) -> None:
    with pytest.raises(ValueError, match=f"num_components: expected ≥ 1; got {count}"):
        MixturePrior(2, count)


def test_a_vamp_prior_may_be_of_flows() -> None:
    """Each component is the guide's posterior at one input."""
    torch.manual_seed(0)
    flow = transforms.conditional_affine_autoregressive(2, 4, [8])
    guide = FlowGuide(NormalGuide(nn.Linear(4, 4)), [flow])
    prior, z = VampPrior(guide, torch.rand(3, 4)), torch.randn(5, 2)
    each = [guide.posterior(u.expand(5, 4)).log_prob(z) for u in prior.pseudo_inputs]
    expected = torch.stack(each).logsumexp(0) - math.log(3)
    torch.testing.assert_close(prior().log_prob(z), expected)


def test_a_vamp_prior_of_another_guide_is_refused() -> None:
    guide, other = NormalGuide(nn.Linear(4, 4)), NormalGuide(nn.Linear(4, 4))
    prior = VampPrior(other, torch.rand(3, 4))
    with pytest.raises(ValueError, match="VAE's own guide"):
        VAE(prior=prior, likelihood=BernoulliLikelihood(nn.Linear(2, 4)), guide=guide)


def test_one_pseudo_input_that_is_no_batch_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"pseudo-inputs of shape \[K, \*event\]"):
        VampPrior(NormalGuide(nn.Linear(4, 4)), torch.rand(4))


def test_whole_numbers_may_be_the_parameters_of_a_fixed_prior() -> None:
    prior = FixedPrior(dist.Gamma, concentration=torch.tensor([1, 2]), rate=1)
    expected = dist.Gamma(torch.tensor([1.0, 2.0]), 1.0).log_prob(torch.tensor(0.5)).sum()
    torch.testing.assert_close(prior().log_prob(torch.full((2,), 0.5)), expected)
