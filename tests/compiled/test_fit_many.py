"""An ensemble trained in one graph is its members trained one by one."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms
from pyro.nn import ConditionalAutoRegressiveNN, DenseNN
from torch import Tensor, nn

from pyro_vae import (
    ELBO,
    IWAE,
    VAE,
    BernoulliLikelihood,
    DReG,
    FlowGuide,
    FlowPrior,
    NonFiniteError,
    NormalGuide,
    Pair,
    StandardNormalPrior,
    fit,
    fit_many,
    step_decay,
)
from pyro_vae.data import Dynamic, Examples
from pyro_vae.training import adam
from pyro_vae.training.compiled import inductor, replay
from pyro_vae.training.compiled.programs import UntraceableError
from tests.training.pairs import Blind, MeanModel, floating_vae, some_digits

SEEDS = [3, 5, 8]


def build(seed: int) -> VAE:
    torch.manual_seed(seed)
    return VAE(
        prior=StandardNormalPrior(2),
        likelihood=BernoulliLikelihood(nn.Linear(2, 64)),
        guide=NormalGuide(nn.Sequential(nn.Linear(64, 5), nn.Dropout(0.2), nn.Linear(5, 4))),
    )


def check(make: Any = build, backend: Any = replay, **options: Any) -> None:
    data = some_digits()
    options = {"epochs": 3, "batch_size": 80, "optimizer": adam(1e-2), "progress": False} | options
    objective = options.pop("objective", ELBO)
    members = fit_many(
        make, SEEDS, data, objective=objective(), backend=backend, validation=data, **options
    )
    assert [member.seed for member in members] == SEEDS
    for member in members:
        alone = make(member.seed)
        history = fit(
            alone,
            data,
            seed=member.seed,
            objective=objective(),
            validation=data,
            compile=False,
            **options,
        )
        assert member.history["bound"] == pytest.approx(history["bound"], rel=1e-5)
        assert member.history["validation"] == pytest.approx(history["validation"], rel=1e-4)
        assert member.history["learning_rate"] == history["learning_rate"]
        got = member.pair.state_dict()
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(got[name], value, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize(
    "options",
    [{}, {"objective": partial(IWAE, 3)}, {"clip_norm": 0.1, "schedule": step_decay(0.5)}],
    ids=["elbo", "iwae", "clipped and scheduled"],
)
def test_members_are_runs_of_their_own(options: dict[str, Any]) -> None:
    check(**options)


def with_flows(seed: int, *, splines: bool = False) -> VAE:
    torch.manual_seed(seed)
    vae = build(seed)
    network = ConditionalAutoRegressiveNN(2, 3, [4], permutation=torch.arange(2))
    flows = [transforms.ConditionalAffineAutoregressive(network)]
    guide = FlowGuide(NormalGuide(nn.Linear(64, 4)), flows, context=nn.Linear(64, 3))
    prior = FlowPrior(2, [spline() if splines else affine()], inverted=True)
    return VAE(prior=prior, likelihood=vae.likelihood, guide=guide)


def affine() -> transforms.AffineCoupling:
    return transforms.AffineCoupling(1, DenseNN(1, [4], param_dims=[1, 1]))


def spline() -> transforms.SplineCoupling:
    network = DenseNN(1, [4], param_dims=[4, 4, 3, 4])
    found = transforms.SplineCoupling(2, 1, network, 4, identity=True)
    del found.lower_spline
    return found


@pytest.mark.parametrize("objective", [ELBO, partial(DReG, 3)], ids=["elbo", "dreg"])
def test_with_flows_in_guide_and_prior(objective: Any) -> None:
    check(with_flows, objective=objective)


def test_an_operation_that_cannot_be_batched_is_named() -> None:
    with pytest.raises(UntraceableError, match=r"several members at once: .*as_strided_scatter"):
        check(partial(with_flows, splines=True))


def test_with_a_prior_whose_variance_floats() -> None:
    check(floating_vae)


def test_fused_by_the_compiler() -> None:
    check(backend=inductor, batch_size=100)


def test_random_numbers_that_depend_on_parameters_are_refused() -> None:
    class Discrete(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logit = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                logit = self.logit.expand(len(x))
                pyro.sample("z", dist.Bernoulli(logits=logit))

    class Model(MeanModel):
        def forward(self, x: Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Bernoulli(0.5))
                loc = self.mean + z[..., None]
                pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    with pytest.raises(UntraceableError, match="depend on parameters"):
        fit_many(
            lambda seed: Pair(Model(), Discrete()),
            [0, 1],
            torch.randn(8, 1),
            epochs=2,
            batch_size=4,
            backend=replay,
            progress=False,
        )


def test_a_nan_names_the_seed_the_epoch_the_step_and_the_term() -> None:
    class UpToFour(MeanModel):
        def forward(self, x: Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(0.0, 1.0))
                location = self.mean + 0.0 * (self.limit - x).sqrt()
                pyro.sample("x", dist.Normal(location, 1.0).to_event(1), obs=x)

    def limited(seed: int) -> Pair:
        pair = Pair(UpToFour(), Blind())
        pair.model.register_buffer("limit", torch.tensor(4.0 if seed == 5 else 9.0))
        return pair

    x = torch.zeros(40, 1)
    x[-1] = 5.0
    order = torch.randperm(40, generator=torch.Generator().manual_seed(5 * 1_000_003 + 1))
    step = int((order == 39).nonzero()) // 4 + 1
    expected = rf"seed 5, epoch 1, step {step}: expected finite numbers.*log p\(x"
    with pytest.raises(NonFiniteError, match=expected):
        fit_many(limited, SEEDS, x, batch_size=4, epochs=2, backend=replay, progress=False)


@pytest.mark.parametrize("seeds", [[], [1, 1]], ids=str)
def test_seeds_are_different_and_there_are_some(seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="one or more different seeds"):
        fit_many(build, seeds, Examples(torch.rand(8, 64), binarisation=Dynamic()))
