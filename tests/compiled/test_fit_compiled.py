"""``fit`` on compiled steps: what it promises holds as in eager mode."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_vae import ELBO, NonFiniteError, Pair, fit
from pyro_vae.training import Checkpoints, CompiledSVI, adam, step_decay
from pyro_vae.training.compiled import replay
from tests.training.pairs import Blind, MeanModel, small_vae, some_digits


@pytest.fixture(autouse=True)
def recorded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded operations as they are, unless a test asks for the compiler."""
    if "fused" not in request.node.name:
        monkeypatch.setattr(sys.modules["pyro_vae.training.run"], "inductor", replay)


def train(folder: Path | None = None, seed: int = 0, **options: Any) -> tuple[Any, dict[str, Any]]:
    options = {"epochs": 3, "batch_size": 80, "optimizer": adam(1e-2), "compile": True} | options
    vae = small_vae(seed)
    options = {"progress": False} | options
    history = fit(vae, some_digits(), seed=1, checkpoints=folder, **options)
    return history, vae.state_dict()


def check_identical(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "options",
    [{}, {"clip_norm": 0.1}, {"schedule": step_decay(0.5)}, {"batch_size": 64}],
    ids=["plain", "clipped", "scheduled", "smaller batches"],
)
def test_the_result_is_that_of_eager_mode(options: dict[str, Any]) -> None:
    history, got = train(**options)
    eager, expected = train(compile=False, **options)
    assert history["bound"] == pytest.approx(eager["bound"], rel=1e-5)
    assert history["learning_rate"] == eager["learning_rate"]
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=1e-4)


def test_annealing_before_an_epoch_reaches_the_graph() -> None:
    def run(compile: bool) -> dict[str, Tensor]:
        objective = ELBO(beta=0.0)

        def anneal(epoch: int) -> None:
            objective.beta = epoch / 3

        return train(objective=objective, before_epoch=anneal, compile=compile)[1]

    expected = run(False)
    for name, value in run(True).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["recorded", "fused"])
def test_a_run_broken_off_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    _, whole = train(tmp_path / "whole", checkpoint_every=2)

    class Killed(Exception):
        pass

    def kill(epoch: int) -> None:
        if epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "part", checkpoint_every=2, before_epoch=kill)
    assert Checkpoints(tmp_path / "part").paths()
    history, resumed = train(tmp_path / "part", seed=5, checkpoint_every=2)
    check_identical(resumed, whole)
    assert len(history["bound"]) == 3


def test_a_run_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    """Too short to pay for compiling, it is compiled all the same where its checkpoints were."""
    _, whole = train(tmp_path / "whole", epochs=4)
    train(tmp_path / "part", epochs=2)
    _, resumed = train(tmp_path / "part", epochs=4, compile=None)
    check_identical(resumed, whole)


@pytest.mark.parametrize(("epochs", "compiled"), [(1999, False), (2000, True)])
def test_it_compiles_where_that_pays(
    epochs: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    class Spy(CompiledSVI):
        def __init__(self, *args: Any, compile: bool, **options: Any) -> None:
            asked.append(compile)
            raise InterruptedError

    monkeypatch.setattr(sys.modules["pyro_vae.training.run"], "CompiledSVI", Spy)
    with pytest.raises(InterruptedError):
        train(epochs=epochs, compile=None)
    assert asked == [compiled]


def test_too_few_smaller_batches_to_pay_for_compiling_are_eager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a run broken off goes on so, bit for bit, though what is left of it is shorter."""
    module = sys.modules["pyro_vae.training.run"]
    monkeypatch.setattr(module, "_COMPILING_PAYS", 6)
    made: list[tuple[bool, list[Tensor]]] = []

    class Spy(CompiledSVI):
        def run(self, data: Any, batches: Any, *args: Any, **options: Any) -> Tensor:
            made.append((self.compiled, batches))
            return super().run(data, batches, *args, **options)

    monkeypatch.setattr(module, "CompiledSVI", Spy)
    options: dict[str, Any] = {"batch_size": 64, "compile": None, "schedule": step_decay(0.5)}
    _, whole = train(tmp_path / "whole", **options)
    assert {(compiled, batches.shape[1]) for compiled, batches in made} == {(True, 64), (False, 8)}
    assert sum(len(batches) for compiled, batches in made if not compiled) == 3

    def stop(epoch: int) -> None:
        if epoch == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(tmp_path / "part", before_epoch=stop, **options)
    monkeypatch.setattr(module, "_COMPILING_PAYS", 1)
    _, resumed = train(tmp_path / "part", seed=5, **options)
    check_identical(resumed, whole)
    _, eager = train(**options | {"compile": False})
    for name, value in eager.items():
        torch.testing.assert_close(whole[name], value, rtol=1e-3, atol=1e-4)


class UpToFour(MeanModel):
    """Its density of x is NaN beyond x = 4."""

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            location = self.mean + 0.0 * (4.0 - x).sqrt()
            return pyro.sample("x", dist.Normal(location, 1.0).to_event(1), obs=x)


def test_a_nan_names_epoch_step_and_term_and_keeps_the_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    x = torch.zeros(40, 1)
    x[-1] = 5.0
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))  # epoch 1 of seed 0
    step = int((order == 39).nonzero()) // 4 + 1
    assert step > 2

    def told(compile: bool) -> str:
        folder = tmp_path / str(compile)
        pair = Pair(UpToFour(), Blind())
        train_on = partial(fit, pair, x, epochs=2, batch_size=4, progress=False, compile=compile)
        with pytest.raises(NonFiniteError) as caught:
            train_on(checkpoints=folder, checkpoint_every=1)
        assert pair.model.mean.isfinite()
        return str(caught.value).replace(str(folder), "")

    assert f"epoch 1, step {step}: expected finite numbers" in told(True)
    assert "infinity in log p(x|…); the last checkpoint is" in told(True)
    assert told(True) == told(False)


def test_the_bar_says_that_the_step_is_compiled(capfd: pytest.CaptureFixture[str]) -> None:
    train(progress=True)
    assert "compiling the step" in capfd.readouterr().err
