"""When a graph is made anew and when not, what cannot become one, and what is refused."""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.optim import Optimizer

from pyro_vae import ELBO, IWAE, NonFiniteError, ShapeError
from pyro_vae.training import CompiledSVI
from pyro_vae.training.compiled import replay
from pyro_vae.training.compiled import step as step_module
from tests.compiled.pairs import Counting, adam, check_same, small_vae, some_data, weights
from tests.objectives.pairs import function_guide, function_model


def compiled(pair: Any = None, objective: Any = None, **options: Any) -> CompiledSVI:
    pair = small_vae() if pair is None else pair
    optimizer = options.pop("optimizer", adam)
    return CompiledSVI(
        pair.model,
        pair.guide,
        optimizer(pair.parameters()),
        ELBO() if objective is None else objective,
        **{"backend": replay} | options,
    )


def eager(*args: Any, **options: Any) -> CompiledSVI:
    return compiled(*args, compile=False, **options)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}], ids=str)
def test_large_parameters_lie_by_themselves_and_are_updated_alike(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_module, "_LARGE", 9)
    check_same(small_vae, ELBO, some_data(), optimizer=adam, **options)
    pair = small_vae()
    svi = compiled(pair)
    for _ in range(2):
        svi.step(some_data())
    where = [p.untyped_storage().data_ptr() for p in pair.parameters() if p.numel() > 9]
    small = {p.untyped_storage().data_ptr() for p in pair.parameters() if p.numel() <= 9}
    assert len(where) == len(set(where)) > 1
    assert len(small) == 1


# --- graphs are made once ----------------------------------------------------------------------


def losses_as_something_changes(
    change: Callable[[CompiledSVI, Any, Any], object],
    objective: Callable[[], Any],
    backend: Any,
    compile: bool,
) -> list[float]:
    pair, bound = small_vae(), objective()
    svi = compiled(pair, bound, backend=backend, compile=compile)
    torch.manual_seed(0)
    losses = []
    for _ in range(4):
        losses.append(svi.step(some_data()).item())
        change(svi, bound, pair)
    return losses


def anneal(svi: CompiledSVI, objective: Any, pair: Any) -> None:
    objective.beta = objective.beta * 0.5


def lower_the_rate(svi: CompiledSVI, objective: Any, pair: Any) -> None:
    svi.optimizer.param_groups[0]["lr"] *= 0.1


@pytest.mark.parametrize("change", [anneal, lower_the_rate])
def test_annealing_and_learning_rates_need_no_other_graph(change: Callable[..., None]) -> None:
    counting = Counting()
    found = losses_as_something_changes(change, partial(ELBO, beta=4.0), counting, True)
    expected = losses_as_something_changes(change, partial(ELBO, beta=4.0), counting, False)
    assert found == pytest.approx(expected, rel=1e-5)
    assert counting.graphs == 1


class Tempered(nn.Module):
    """A pair whose KL is annealed by an argument, as Pyro's users do it."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 2), nn.Linear(2, 6)

    def model(self, x: Tensor, temperature: float = 1.0) -> None:
        pyro.module("tempered", self)
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=temperature):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decode(z)).to_event(1), obs=x)

    def guide(self, x: Tensor, temperature: float = 1.0) -> None:
        with pyro.plate("data", len(x)), poutine.scale(scale=temperature):
            pyro.sample("z", dist.Normal(self.encode(x), 0.5).to_event(1))


@pytest.mark.parametrize("objective", [Trace_ELBO, ELBO])
def test_a_temperature_among_the_arguments_needs_no_other_graph(objective: Any) -> None:
    def losses(**options: Any) -> list[float]:
        torch.manual_seed(0)
        svi = compiled(Tempered(), objective(), **options)
        return [svi.step(some_data(), temperature=t).item() for t in (0.1, 0.2, 0.4, 0.8)]

    counting = Counting()
    assert losses(backend=counting) == pytest.approx(losses(compile=False), rel=1e-5)
    assert counting.graphs == 1


def test_each_batch_size_has_one_graph() -> None:
    counting = Counting()
    svi = compiled(backend=counting)
    for size in (5, 5, 7, 5, 7):  # the first step is eager
        assert svi.step(some_data(size)).isfinite()
    assert counting.graphs == 2


def test_a_plain_number_of_the_programs_makes_another_graph_and_is_not_forgotten() -> None:
    class Scaled(Tempered):
        strength = 1.0

        def __init__(self) -> None:
            super().__init__()
            self.strength = 1.0

        def model(self, x: Tensor, temperature: float = 1.0) -> None:
            super().model(x, self.strength)

    def losses(**options: Any) -> list[float]:
        torch.manual_seed(0)
        pair = Scaled()
        svi = compiled(pair, Trace_ELBO(), **options)
        found = []
        for pair.strength in (1.0, 1.0, 0.2, 0.2, 1.0):
            found.append(svi.step(some_data()).item())
        return found

    counting = Counting()
    assert losses(backend=counting) == pytest.approx(losses(compile=False), rel=1e-5)
    assert counting.graphs == 2


def test_a_number_that_changes_at_every_step_ends_in_eager_mode_and_is_named() -> None:
    pair = small_vae()
    svi = compiled(pair)
    pair.model.note = 0
    svi = compiled(pair)

    def steps() -> None:
        for pair.model.note in range(30):
            svi.step(some_data())

    with pytest.warns(UserWarning, match=r"note changed 16 times.*pass it as an argument"):
        steps()
    assert not svi.compiled


def test_dropout_follows_the_mode() -> None:
    pair = small_vae(dropout=0.5)
    svi = compiled(pair, ELBO(400))
    svi.step(some_data())
    pair.eval()
    torch.manual_seed(0)
    first = [svi.evaluate(some_data()).item() for _ in range(2)]
    pair.train()
    second = [svi.evaluate(some_data()).item() for _ in range(2)]
    # Without dropout, 400 particles leave little noise; with it, the inputs themselves change.
    assert abs(first[0] - first[1]) < 0.2 * abs(second[0] - second[1])


# --- random numbers ----------------------------------------------------------------------------


def test_random_numbers_follow_the_seed() -> None:
    def losses(seed: int) -> list[float]:
        svi = compiled(optimizer=partial(torch.optim.SGD, lr=0.0))
        torch.manual_seed(seed)
        return [svi.step(some_data()).item() for _ in range(4)]

    assert losses(1) == losses(1)
    assert len(set(losses(1) + losses(2))) == 8


def test_recording_takes_no_random_numbers_and_leaves_no_gradients() -> None:
    pair = small_vae()
    svi = compiled(pair)
    svi.step(some_data())
    svi.optimizer.zero_grad()
    before = torch.get_rng_state()
    svi.evaluate(some_data())
    torch.set_rng_state(before)
    svi.step(some_data())
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    svi.step(some_data())  # the same draws, this time with nothing to record
    assert torch.equal(torch.get_rng_state(), after)
    assert all(p.grad is None for p in pair.parameters())


# --- evaluate ----------------------------------------------------------------------------------


def test_evaluate_is_the_loss_and_changes_nothing() -> None:
    pair, objective = small_vae(), IWAE(3)
    svi = compiled(pair, objective)
    for _ in range(2):
        svi.step(some_data())
    before = weights(pair)
    torch.manual_seed(3)
    loss = svi.evaluate(some_data())
    torch.manual_seed(3)
    assert loss.item() == pytest.approx(objective.loss(pair.model, pair.guide, some_data()))
    assert all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())


# --- optimizers and their state ----------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "Adam": partial(torch.optim.Adam, lr=1e-2, weight_decay=0.1),
    "Adam, amsgrad": partial(torch.optim.Adam, lr=1e-2, amsgrad=True),
    "Adam, fused": partial(torch.optim.Adam, lr=1e-2, fused=True),
    "AdamW": partial(torch.optim.AdamW, lr=1e-2),
    "SGD": partial(torch.optim.SGD, lr=1e-3),
    "SGD, momentum": partial(torch.optim.SGD, lr=1e-3, momentum=0.9, dampening=0.3),
    "SGD, Nesterov": partial(torch.optim.SGD, lr=1e-3, momentum=0.9, nesterov=True),
    "RMSprop": partial(torch.optim.RMSprop, lr=1e-3, momentum=0.5, centered=True),
    "Adagrad": partial(torch.optim.Adagrad, lr=1e-2, lr_decay=0.1),
    "Adadelta": torch.optim.Adadelta,
    "Adamax": torch.optim.Adamax,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "Rprop": torch.optim.Rprop,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_and_its_state_are_those_of_eager_steps(name: str) -> None:
    def run(*modes: Callable[..., CompiledSVI]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Steps in these modes, one after another, on one pair and one optimizer."""
        pair = small_vae()
        optimizer = OPTIMIZERS[name](pair.parameters())
        torch.manual_seed(0)
        for mode in modes:
            svi = mode(pair, optimizer=lambda _: optimizer)
            for _ in range(4):
                svi.step(some_data())
        return weights(pair), optimizer.state_dict()["state"]

    expected, state = run(eager, eager, eager)
    for modes in [(compiled, compiled, compiled), (eager, compiled, eager)]:
        got, own_state = run(*modes)
        for key, value in expected.items():
            torch.testing.assert_close(got[key], value, rtol=1e-4, atol=1e-5)
        assert own_state.keys() == state.keys()
        for index, values in state.items():
            for key, value in values.items():
                close = {"rtol": 1e-3, "atol": 1e-4}
                torch.testing.assert_close(own_state[index][key], value, **close)


def test_groups_have_their_own_learning_rates() -> None:
    def run(mode: Callable[..., CompiledSVI]) -> dict[str, Tensor]:
        pair = small_vae()
        groups = [
            {"params": list(pair.guide.parameters()), "lr": 1e-2},
            {"params": list(pair.likelihood.parameters()), "lr": 1e-4},
        ]
        torch.manual_seed(0)
        svi = mode(pair, optimizer=lambda _: torch.optim.Adam(groups))
        for _ in range(4):
            svi.step(some_data())
        return weights(pair)

    expected = run(eager)
    for name, value in run(compiled).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


def test_states_are_saved_and_loaded_in_the_midst() -> None:
    def run(reload: bool) -> dict[str, Tensor]:
        pair = small_vae()
        svi = compiled(pair)
        torch.manual_seed(0)
        for step in range(8):
            svi.step(some_data())
            if reload and step == 4:
                kept = copy.deepcopy((pair.state_dict(), svi.optimizer.state_dict()))
                random_state = torch.get_rng_state()
                for _ in range(3):
                    svi.step(some_data())
                pair.load_state_dict(kept[0])
                svi.optimizer.load_state_dict(kept[1])
                torch.set_rng_state(random_state)
        return weights(pair)

    expected = run(False)
    assert all(torch.equal(value, expected[name]) for name, value in run(True).items())


def test_names_shapes_and_copies_are_as_before() -> None:
    pair = small_vae()
    before = {name: value.shape for name, value in pair.state_dict().items()}
    svi = compiled(pair)
    for _ in range(3):
        svi.step(some_data())
    assert {name: value.shape for name, value in pair.state_dict().items()} == before
    kept, twin = weights(pair), copy.deepcopy(pair)
    svi.step(some_data())
    assert all(torch.equal(value, kept[name]) for name, value in twin.state_dict().items())
    assert not torch.equal(pair.state_dict()[(name := next(iter(kept)))], kept[name])


def test_a_pair_moved_to_double_precision_goes_on() -> None:
    pair = small_vae()
    svi = compiled(pair)
    for _ in range(3):
        svi.step(some_data())
    pair.double()
    again = compiled(pair)
    assert [again.step(some_data().double()).dtype for _ in range(3)] == [torch.float64] * 3


def test_two_pairs_in_one_process_both_train() -> None:
    pairs = [small_vae(), small_vae()]
    before = [weights(pair) for pair in pairs]
    for pair in pairs:
        svi = compiled(pair)
        for _ in range(3):
            svi.step(some_data())
    for pair, old in zip(pairs, before, strict=True):
        assert not any(torch.equal(value, old[name]) for name, value in pair.state_dict().items())


def test_plain_functions_with_pyro_param() -> None:
    def losses(compile: bool) -> list[float]:
        pyro.clear_param_store()
        x = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
        function_guide(x)
        function_model(x)
        parameters = [p.unconstrained() for p in pyro.get_param_store().values()]
        svi = CompiledSVI(
            function_model,
            function_guide,
            torch.optim.Adam(parameters, lr=1e-2),
            Trace_ELBO(),
            compile=compile,
            backend=replay,
        )
        torch.manual_seed(0)
        found = [svi.step(x).item() for _ in range(5)]
        assert svi.compiled is compile
        return found

    assert losses(True) == pytest.approx(losses(False), rel=1e-5)


# --- what cannot become a graph runs eagerly ---------------------------------------------------


class Untraceable(Tempered):
    """Does ``what`` on values in the guide, after its site."""

    def __init__(self, what: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.what = [what]

    def guide(self, x: Tensor, temperature: float = 1.0) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.encode(x), 0.5).to_event(1))
        self.what[0](z)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (lambda z: z.sum().item(), "takes a number out of a tensor"),
        (lambda z: z if z.sum() > 0 else -z, "takes a number out of a tensor"),
        (lambda z: float(z.detach().sum()), "takes a number out of a tensor"),
        (lambda z: z.detach().numpy(), r"numpy\(\) takes values out of the graph"),
        (lambda z: z.detach().tolist(), r"tolist\(\) takes values out of the graph"),
    ],
)
def test_values_on_the_host_fall_back_with_the_site_the_line_and_the_reason(
    what: Callable[[Tensor], Any], reason: str
) -> None:
    svi = compiled(Untraceable(what), Trace_ELBO())
    told = rf"in the guide, at or after site 'z' \(test_compiled_svi.py, line \d+.*{reason}"
    with pytest.warns(UserWarning, match=told):
        svi.step(some_data())
    assert not svi.compiled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert svi.step(some_data()).isfinite()  # one warning, not one a step


@pytest.mark.parametrize("draw", [random.random, np.random.random])
def test_random_numbers_of_others_are_seen_not_to_be_in_the_graph(
    draw: Callable[[], float],
) -> None:
    class Jittered(Tempered):
        def model(self, x: Tensor, temperature: float = 1.0) -> None:
            super().model(x, draw())

    svi = compiled(Jittered(), Trace_ELBO())
    with pytest.warns(UserWarning, match="depend on something beside their tensors"):
        svi.step(some_data())
    assert not svi.compiled


def test_a_replaced_buffer_is_named() -> None:
    class Averaging(Tempered):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("average", torch.zeros(6))

        def guide(self, x: Tensor, temperature: float = 1.0) -> None:
            self.average = 0.9 * self.average + 0.1 * x.mean(0)
            super().guide(x - self.average)

    svi = compiled(Averaging(), Trace_ELBO())
    with pytest.warns(UserWarning, match="the buffer average is replaced at each step"):
        svi.step(some_data())


def test_an_optimizer_that_looks_at_whole_tensors_is_named() -> None:
    svi = compiled(optimizer=torch.optim.Adafactor)
    with pytest.warns(UserWarning, match="in the optimizer: Adafactor is none of those"):
        svi.step(some_data())


def test_without_a_compiler_the_recorded_operations_run_by_themselves() -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise FileNotFoundError("no g++")

    svi = compiled(backend=broken)
    svi.step(some_data())
    with pytest.warns(UserWarning, match="got FileNotFoundError: no g"):
        svi.step(some_data())
    assert svi.compiled
    assert svi.step(some_data()).isfinite()


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [compiled, eager])
@pytest.mark.parametrize(
    ("batch", "told"),
    [
        (some_data().double(), r"expected torch.float32 \['batch', 6\].*got torch.float64 \[12, 6"),
        (some_data()[:, :5], r"expected torch.float32 \['batch', 6\].*got torch.float32 \[12, 5"),
    ],
)
def test_a_batch_of_another_kind(
    mode: Callable[..., CompiledSVI], batch: Tensor, told: str
) -> None:
    svi = mode()
    for _ in range(2):
        svi.step(some_data())
    with pytest.raises(ShapeError, match=told):
        svi.step(batch)


@pytest.mark.parametrize("mode", [compiled, eager])
def test_no_gradients(mode: Callable[..., CompiledSVI]) -> None:
    with pytest.raises(RuntimeError, match=r"got a call under torch.no_grad"), torch.no_grad():
        mode().step(some_data())


@pytest.mark.parametrize("mode", [compiled, eager])
def test_a_parameter_added_later(mode: Callable[..., CompiledSVI]) -> None:
    pair = small_vae()
    svi = mode(pair)
    for _ in range(2):
        svi.step(some_data())
    pair.guide.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(RuntimeError, match="expected the parameters it was made with"):
        svi.step(some_data())


def test_a_parameter_resized_later() -> None:
    pair = small_vae()
    svi = compiled(pair)
    for _ in range(3):
        svi.step(some_data())
    first = next(pair.guide.parameters())
    first.data = torch.zeros(7, *first.shape[1:])
    with pytest.raises(RuntimeError, match="added, resized or replaced since"):
        svi.step(some_data())


@pytest.mark.parametrize(
    "options", [{"backend": replay}, {"compile": False}], ids=["recorded", "eager"]
)
def test_an_optimizer_of_another_pairs_parameters(options: dict[str, Any]) -> None:
    pair = small_vae()
    others = adam(small_vae().parameters())
    svi = CompiledSVI(pair.model, pair.guide, others, ELBO(), **options)
    with pytest.raises(ValueError, match="none of which has a gradient"):
        svi.step(some_data())


def test_an_optimizer_of_pyros_own() -> None:
    pair = small_vae()
    with pytest.raises(TypeError, match=r"expected one of torch\.optim; got PyroOptim"):
        CompiledSVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.1}), ELBO())


@pytest.mark.parametrize("options", [{"batch_size": 13}, {"batch_size": 0}], ids=str)
def test_batches_that_the_data_do_not_give(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a batch of at most the 12 data"):
        compiled().run(some_data(), 3, **options)


# --- NaN and infinity --------------------------------------------------------------------------


class Fragile(nn.Module):
    """log p(x) is NaN, or its gradient infinite, at data that are marked so."""

    def __init__(self) -> None:
        super().__init__()
        self.location, self.scale = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))

    def model(self, x: Tensor) -> None:
        pyro.module("fragile", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            # At x₀ = 1 the root is of 0, with an infinite slope.
            slope = ((1.0 - x[:, :1]) * self.scale.exp()).sqrt()
            pyro.sample("x", dist.Normal(z + slope, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.location.expand(len(x), 2), 0.5).to_event(1))


@pytest.mark.filterwarnings("ignore:Encountered NaN")  # Pyro's own, of an eager step
@pytest.mark.parametrize("mode", [compiled, eager])
@pytest.mark.parametrize(
    ("bad", "term"), [(math.nan, r"log p\(x"), (1.0, "the gradient of model.scale")]
)
def test_a_nan_is_found_with_its_step_and_term_and_the_weights_before_it(
    mode: Callable[..., CompiledSVI], bad: float, term: str
) -> None:
    x = torch.zeros(6, 2)
    x[3, 0] = bad
    batches = torch.tensor([[0, 1], [1, 2], [4, 5], [0, 3], [1, 2]])

    def run(mode: Callable[..., CompiledSVI], batches: Tensor) -> dict[str, Tensor]:
        torch.manual_seed(0)
        pair = Fragile()
        svi = mode(pair, Trace_ELBO())
        values = nn.Parameter(x, requires_grad=False)
        for index in batches:
            svi.step(values[index])
        return weights(pair)

    pyro.enable_validation(False)
    before = run(eager, batches[:3])
    torch.manual_seed(0)
    pair = Fragile()
    svi = mode(pair, Trace_ELBO())

    def steps() -> None:
        for index in batches:
            svi.step(x[index])

    with pytest.raises(NonFiniteError, match=rf"step 4: expected finite numbers.*{term}") as caught:
        steps()
    assert caught.value.term.startswith(term.replace("\\", ""))
    for name, value in before.items():
        torch.testing.assert_close(pair.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert svi.step(x[:2]).isfinite()  # it can go on with other data
    pyro.enable_validation(True)
