"""A NaN or an infinity stops the run, is named, and is in no checkpoint."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vae import (
    IWAE,
    MIWAE,
    DReG,
    NonFiniteError,
    Objective,
    Pair,
    Renyi,
    StickingTheLanding,
    fit,
)
from pyro_vae.training import Checkpoints
from tests.training.pairs import Blind, MeanModel, mean_pair

X = torch.randn(10, 1)  # 3 steps an epoch, in batches of 4
quietly = partial(fit, epochs=3, batch_size=4, progress=False)


class Poisoned(MeanModel):
    """After some training steps, something is no longer finite."""

    def __init__(self, healthy_steps: int) -> None:
        super().__init__()
        self.healthy_steps = healthy_steps

    def poison(self) -> bool:
        if torch.is_grad_enabled():
            self.healthy_steps -= 1
        return self.healthy_steps < 0


class WithNaN(Poisoned):
    def location(self) -> Tensor:
        return self.mean * float("nan") if self.poison() else self.mean


class WithInfiniteGradient(Poisoned):
    """√|μ − μ₀| is finite at μ = μ₀, its derivative is not."""

    def location(self) -> Tensor:
        if self.poison():
            return self.mean + (self.mean - self.mean.detach()).abs().sqrt()
        return self.mean


class WithNaNPrior(Poisoned):
    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            scale = float("nan") if self.poison() else 1.0
            pyro.sample("z", dist.Normal(0.0 * self.mean, scale).to_event(1))
            return pyro.sample("x", dist.Normal(self.mean, 1.0).to_event(1), obs=x)


class VectorGuide(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))


def make(model: type[Poisoned], healthy_steps: int) -> Pair:
    guide = VectorGuide() if model is WithNaNPrior else Blind()
    return Pair(model(healthy_steps), guide)


@pytest.mark.parametrize(
    ("model", "term"),
    [
        (WithNaN, r"log p\(x\|…\)"),
        (WithNaNPrior, r"log p\(z\)"),
        (WithInfiniteGradient, r"the gradient of model\.mean"),
    ],
)
@pytest.mark.parametrize(("step", "place"), [(0, "epoch 1, step 1"), (4, "epoch 2, step 2")])
def test_it_is_named_with_its_epoch_and_step(
    model: type[Poisoned], term: str, step: int, place: str
) -> None:
    with pytest.raises(NonFiniteError, match=f"{place}: .* a NaN or infinity in {term}"):
        quietly(make(model, step), X)


@pytest.mark.parametrize(
    "objective",
    [IWAE(3), MIWAE(4, num_groups=2), Renyi(3), DReG(3), StickingTheLanding(2)],
    ids=repr,
)
@pytest.mark.parametrize(
    ("model", "term"), [(WithNaN, r"log p\(x\|…\)"), (WithNaNPrior, r"log p\(z\)")]
)
def test_every_objective_names_the_term(
    objective: Objective, model: type[Poisoned], term: str
) -> None:
    pair = make(model, 1)
    with pytest.raises(NonFiniteError, match=rf"epoch 1, step 2: .* a NaN or infinity in {term}"):
        quietly(pair, X, objective=objective)


@pytest.mark.parametrize("model", [WithNaN, WithNaNPrior, WithInfiniteGradient])
def test_the_last_checkpoint_is_named_good_and_from_before(
    tmp_path: Path, model: type[Poisoned]
) -> None:
    with pytest.raises(NonFiniteError, match=r"the last checkpoint is .*step-000000003\.pt"):
        quietly(make(model, 4), X, checkpoints=tmp_path)
    state = Checkpoints(tmp_path).load()
    assert state is not None
    assert state["position"] == [1, 0]
    assert state["pair"]["model.mean"].isfinite().all()


def test_a_run_goes_on_from_there_once_its_cause_is_gone(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError):
        quietly(make(WithNaN, 4), X, checkpoints=tmp_path)
    whole, resumed = make(WithNaN, 99), make(WithNaN, 99)
    quietly(resumed, X, checkpoints=tmp_path)
    quietly(whole, X)
    assert torch.equal(resumed.model.mean, whole.model.mean)


def test_it_is_said_that_there_are_no_checkpoints() -> None:
    with pytest.raises(NonFiniteError, match="no checkpoints were asked for"):
        quietly(make(WithNaN, 4), X)


def test_it_is_said_that_there_is_no_checkpoint_yet(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="there was no checkpoint yet"):
        quietly(make(WithNaN, 1), X, checkpoints=tmp_path)


def test_weights_do_not_take_the_step_that_would_spoil_them() -> None:
    pair = make(WithInfiniteGradient, 0)
    with pytest.raises(NonFiniteError):
        quietly(pair, X)
    assert pair.model.mean.item() == 0.0


class Exploding(torch.optim.SGD):
    """Makes infinite weights of a finite gradient in its fifth step."""

    steps = 0

    def step(self, closure: Any = None) -> None:
        super().step()
        self.steps += 1
        if self.steps == 5:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(float("inf"))


@pytest.mark.parametrize("every", [None, 5])
def test_infinite_weights_of_an_optimizer_get_into_no_checkpoint(
    tmp_path: Path, every: int | None
) -> None:
    with pytest.raises(NonFiniteError):
        quietly(
            mean_pair(),
            X,
            batch_size=5,
            epochs=3,
            optimizer=partial(Exploding, lr=0.1),
            checkpoints=tmp_path,
            checkpoint_every=every,
        )
    state = Checkpoints(tmp_path).load()
    assert state is not None
    assert state["pair"]["model.mean"].isfinite().all()


def test_infinite_weights_of_the_last_step_are_not_returned() -> None:
    with pytest.raises(
        NonFiniteError, match=r"epoch 1, step 5: .* infinity in the weights model\.mean"
    ):
        quietly(mean_pair(), X, batch_size=2, epochs=1, optimizer=partial(Exploding, lr=0.1))


class FailsOn(MeanModel):
    """Gives −∞ to a datum at 99."""

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            mean = torch.where(x > 90, float("inf"), self.mean)
            return pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)


def test_a_held_out_bound_that_is_not_finite_stops_the_run_too() -> None:
    held_out = torch.cat([X, torch.tensor([[99.0]])])  # the last one: in no dry run
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 3: .*the held-out bound"):
        quietly(Pair(FailsOn(), Blind()), X, validation=held_out)
