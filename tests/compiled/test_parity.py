"""Compiled steps are eager steps: same losses, same weights, from the same random numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

from pyro_vae import (
    ELBO,
    IWAE,
    VAE,
    BernoulliLikelihood,
    NormalGuide,
    StandardNormalPrior,
    VampPrior,
)
from pyro_vae.data import Dynamic, Examples
from pyro_vae.training import CompiledSVI
from pyro_vae.training.compiled import inductor, replay
from tests.compiled.pairs import (
    Subsampled,
    TutorialVAE,
    TwoLevels,
    check_same,
    sgd,
    small_vae,
    some_data,
    trained,
    weights,
)
from tests.registry import DATA, GUIDES, LIKELIHOODS, OBJECTIVES, PRIORS, PRIORS_FOR_GUIDES

DTYPES = [torch.float32, torch.float64]


def registry_vae(
    prior: str = "StandardNormalPrior",
    likelihood: str = "BernoulliLikelihood",
    guide: str = "NormalGuide",
    dtype: torch.dtype = torch.float32,
) -> VAE:
    make_prior = PRIORS_FOR_GUIDES.get(guide, PRIORS[prior])
    made = make_prior()
    own_guide = made.guide if isinstance(made, VampPrior) else GUIDES[guide]()
    return VAE(prior=made, likelihood=LIKELIHOODS[likelihood](), guide=own_guide).to(dtype)


def registry_data(dtype: torch.dtype) -> Tensor:
    return torch.rand(10, DATA, generator=torch.Generator().manual_seed(4)).round().to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "part",
    [
        *({"prior": name} for name in PRIORS),
        *({"likelihood": name} for name in LIKELIHOODS),
        *({"guide": name} for name in GUIDES),
    ],
    ids=str,
)
def test_every_part_of_the_registry(part: dict[str, str], dtype: torch.dtype) -> None:
    check_same(partial(registry_vae, **part, dtype=dtype), ELBO, registry_data(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_of_the_registry(name: str, particles: int, dtype: torch.dtype) -> None:
    floating = "FloatingPrior" in name or name == "BILBO"
    parts = {"prior": "FloatingPrior", "guide": "ConstantNormalGuide"} if floating else {}
    make = partial(registry_vae, **parts, dtype=dtype)
    check_same(make, lambda: OBJECTIVES[name](particles), registry_data(dtype), optimizer=sgd)


STOCK = {
    "Trace_ELBO": Trace_ELBO,
    "Trace_ELBO, 2 in turn": partial(Trace_ELBO, num_particles=2),
    "Trace_ELBO, 3 side by side": partial(
        Trace_ELBO, num_particles=3, vectorize_particles=True, max_plate_nesting=1
    ),
    "TraceMeanField_ELBO": TraceMeanField_ELBO,
    "RenyiELBO": partial(
        RenyiELBO, alpha=0.0, num_particles=3, vectorize_particles=True, max_plate_nesting=1
    ),
    "RenyiELBO, α = ½": partial(RenyiELBO, alpha=0.5, num_particles=2),
}


@pytest.mark.parametrize("make", [small_vae, TutorialVAE, TwoLevels])
@pytest.mark.parametrize("name", STOCK)
def test_stock_objectives_on_a_vae_pyros_tutorial_and_a_hierarchy(
    name: str, make: Callable[[], nn.Module]
) -> None:
    if make is TwoLevels and name == "TraceMeanField_ELBO":
        pytest.skip("needs the guide's sites in the model's order")
    check_same(make, STOCK[name], some_data())


@pytest.mark.parametrize("make", [TutorialVAE, TwoLevels, Subsampled])
@pytest.mark.parametrize("objective", [ELBO, partial(IWAE, 4)], ids=["ELBO", "IWAE"])
def test_our_objectives_on_pairs_written_by_hand(
    make: Callable[[], nn.Module], objective: Callable[[], Any]
) -> None:
    check_same(make, objective, some_data())


def test_a_subsample_is_drawn_anew_at_each_step() -> None:
    check_same(Subsampled, Trace_ELBO, some_data())


def test_dropout() -> None:
    check_same(partial(small_vae, dropout=0.4), ELBO, some_data())


class Normalised(nn.Module):
    """Batch normalisation: a network with buffers that training writes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_batch_normalisation_counts_each_step_once() -> None:
    def make() -> VAE:
        return VAE(
            prior=StandardNormalPrior(2),
            likelihood=BernoulliLikelihood(nn.Linear(2, 6)),
            guide=NormalGuide(Normalised(6, 4)),
        )

    # Adam would blow up the rounding of a bias's gradient, which normalising makes zero.
    check_same(make, ELBO, some_data(), steps=5, optimizer=sgd)
    _, after = trained(make, ELBO, some_data(), steps=5)
    assert [int(v) for name, v in after.items() if name.endswith("num_batches_tracked")] == [5]


@pytest.mark.filterwarnings("ignore:.*not registered in the param store")  # Pyro's own
def test_a_frozen_parameter_stays_and_its_later_values_are_used() -> None:
    def losses(compile: bool) -> list[float]:
        vae = small_vae()
        vae.likelihood.requires_grad_(False)
        trainable = [p for p in vae.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trainable, lr=1e-2)
        svi = CompiledSVI(vae.model, vae.guide, optimizer, ELBO(), compile=compile, backend=replay)
        torch.manual_seed(0)
        first = [svi.step(some_data()).item() for _ in range(3)]
        with torch.no_grad():
            for parameter in vae.likelihood.parameters():
                parameter.mul_(3.0)
        return first + [svi.step(some_data()).item() for _ in range(3)]

    assert losses(True) == pytest.approx(losses(False), rel=1e-5)


@pytest.mark.parametrize("options", [{"clip_norm": 0.5}, {"per_datum": True}], ids=str)
def test_clipping_and_gradients_per_datum(options: dict[str, Any]) -> None:
    check_same(small_vae, ELBO, some_data(), optimizer=sgd, **options)


# --- many steps a call -------------------------------------------------------------------------


@pytest.mark.parametrize("binarisation", [None, Dynamic()], ids=["grey", "dynamic"])
def test_run_is_as_many_steps(binarisation: Dynamic | None) -> None:
    grey = torch.rand(20, 6, generator=torch.Generator().manual_seed(5))
    data = Examples(grey) if binarisation is None else Examples(grey, binarisation=binarisation)
    batches = torch.stack([torch.randperm(20)[:7] for _ in range(6)])

    def run(compile: bool) -> tuple[Tensor, dict[str, Tensor]]:
        vae = small_vae()
        optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
        svi = CompiledSVI(vae.model, vae.guide, optimizer, ELBO(), compile=compile, backend=replay)
        torch.manual_seed(0)
        return svi.run(data, batches), weights(vae)

    (losses, got), (expected, eager) = run(True), run(False)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    for name, value in eager.items():
        torch.testing.assert_close(got[name], value, rtol=1e-5, atol=1e-5)


def test_run_goes_through_the_data_in_random_order() -> None:
    seen: list[Tensor] = []

    class Spy(Dynamic):
        def draw(self, values: Tensor) -> Tensor:
            seen.append(values[:, 0])
            return values

    data = Examples(torch.arange(10.0)[:, None] / 10, binarisation=Spy())
    vae = VAE(
        prior=StandardNormalPrior(1),
        likelihood=BernoulliLikelihood(nn.Linear(1, 1)),
        guide=NormalGuide(nn.Linear(1, 2)),
    )
    svi = CompiledSVI(vae.model, vae.guide, sgd(vae.parameters()), ELBO(), compile=False)
    assert svi.run(data, 6, batch_size=3).shape == (6,)
    epochs = torch.stack(seen[-6:]).view(2, 9)
    assert all(len(epoch.unique()) == 9 for epoch in epochs)
    assert not torch.equal(*epochs)


# --- fused -------------------------------------------------------------------------------------


def test_fused_by_the_compiler_a_step_is_the_same() -> None:
    check_same(partial(small_vae, dropout=0.4), ELBO, some_data(), backend=inductor)


def test_fused_the_random_numbers_of_several_sites_are_those_of_eager_mode() -> None:
    grey = torch.rand(20, 6, generator=torch.Generator().manual_seed(5))
    batches = torch.stack([torch.randperm(20)[:7] for _ in range(4)])

    def run(compile: bool) -> Tensor:
        torch.manual_seed(0)
        pair = TwoLevels()
        optimizer = torch.optim.AdamW(pair.parameters(), lr=1e-2)
        svi = CompiledSVI(pair.model, pair.guide, optimizer, IWAE(3), compile=compile)
        return svi.run(Examples(grey, binarisation=Dynamic()), batches)

    torch.testing.assert_close(run(True), run(False), rtol=1e-5, atol=1e-5)
