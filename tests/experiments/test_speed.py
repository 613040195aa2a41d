"""The speed experiment: its arithmetic, its order, its report, and a small run of it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pyro.infer import Trace_ELBO
from torch.utils.flop_counter import FlopCounterMode

from experiments.command_line import main
from experiments.speed import experiment, figures, measure
from experiments.speed.breakdown import grouped
from experiments.speed.cases import CASES, Case, case_of, growth_cases, layers, shrunk
from experiments.speed.check import Check
from experiments.speed.config import Config, chosen_cases
from experiments.speed.contenders import CONTENDERS, default_contenders
from experiments.speed.contenders.by_hand import Loss
from experiments.speed.contenders.pairs import FlowPair
from experiments.speed.goals import speedup, steps_until_compiling_pays, verdicts
from experiments.speed.inputs import Inputs, make_inputs
from experiments.speed.limit import flops, products
from experiments.speed.measure import block_steps, in_turn, measure_case
from experiments.speed.process import Absent, ContenderProcess
from experiments.speed.reference import reference_losses
from experiments.speed.report import report
from experiments.speed.spread import median_interval, quartiles, ratios

SMALL = Case("small", "a small one", data_dim=3, latent=2, hidden=(5,), batch=7)


# -- the limit ------------------------------------------------------------------------------------


def test_the_flops_of_a_small_step_are_those_counted_by_hand() -> None:
    encoder = 2 * (2 * 7 * 3 * 5) + 3 * (2 * 7 * 5 * 4)  # 3 → 5 → 4: the data need no gradient
    decoder = 3 * (2 * 7 * 2 * 5) + 3 * (2 * 7 * 5 * 3)  # 2 → 5 → 3
    assert flops(layers(SMALL)) == encoder + decoder == 2310
    for layer in layers(SMALL):
        assert layer.flops == sum(2 * a * b * c for (a, b, c), _ in products(layer))


@pytest.mark.parametrize("name", ["b", "c2", "d"])
def test_flops_are_those_that_torch_counts(name: str) -> None:
    case = shrunk(CASES[name])
    inputs = make_inputs(case, None)
    x = torch.from_numpy(inputs.data[: case.batch])
    with FlopCounterMode(display=False) as counter:
        if case.flows:
            pair = FlowPair(case, inputs)
            Trace_ELBO().differentiable_loss(pair.model, pair.guide, x).backward()
        else:
            noise = torch.randn(case.particles, case.batch, case.latent)
            Loss(case, inputs)(x, torch.arange(case.batch), noise).backward()
    assert counter.get_total_flops() == flops(layers(case))


# -- order and arithmetic -------------------------------------------------------------------------


def test_contenders_take_turns_and_another_one_begins_each_round() -> None:
    assert list(in_turn("abc", 4)) == list("abcbcacababc")
    assert list(in_turn("", 3)) == []


def test_a_block_is_a_whole_number_of_chunks() -> None:
    assert block_steps(0.001, 0.3, chunk=1) == 300
    assert block_steps(0.001, 0.33, chunk=50) == 350
    assert block_steps(7.0, 0.3, chunk=50) == 50


def test_ratios_are_taken_within_a_round() -> None:
    assert ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == [2.0, 3.0, 1.0]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_quartiles_of_known_values() -> None:
    assert quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == (2.0, 4.0)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(1, 1, 1), (5, 1, 5), (6, 1, 6), (15, 4, 12), (20, 6, 15)],  # as tables of ranks have it
)
def test_the_intervals_ends_are_the_ranks_of_the_sign_test(count: int, low: int, high: int) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert median_interval(list(values)) == (low, high)


def test_a_check_counts_standard_errors() -> None:
    assert Check(10.0, 0.3, 12.0, 0.4).deviation == pytest.approx(-4.0)
    assert Check(10.0, 0.3, 12.0, 0.4).agrees
    assert not Check(10.0, 0.3, 12.6, 0.4).agrees
    assert [Check(m, 0.3, 12.0, 0.4).is_below for m in (10.4, 10.6, 13.6)] == [True, False, False]
    assert not Check.of([math.inf, 1.0], [1.0, 2.0]).agrees
    made = Check.of([1.0, 2.0, 3.0], [4.0, 4.0, 7.0])
    assert (made.mean, made.reference) == (2.0, 5.0)
    assert (made.error, made.reference_error) == pytest.approx((1 / 3**0.5, 1.0))
    assert "5.00 ± 1.00" in str(made)


# -- cases and inputs -----------------------------------------------------------------------------


def test_a_case_comes_back_from_json() -> None:
    for case in CASES.values():
        assert case_of(json.loads(json.dumps(vars(case)))) == case


def test_growth_starts_from_case_a_on_every_axis() -> None:
    points = growth_cases(quick=False)
    assert [key for key, case in points.items() if case == CASES["a"]] == [
        ("batch", 200),
        ("latent", 2),
        ("width", 64),
        ("particles", 1),
    ]
    assert points["width", 512].hidden == (512, 512, 512)
    assert len({case.name for case in points.values()}) == len(set(points.values()))


def test_inputs_are_the_same_every_time_and_survive_their_file(tmp_path: Path) -> None:
    case = shrunk(CASES["d"])
    inputs = make_inputs(case, None)
    inputs.save(tmp_path / "inputs.npz")
    for other in (make_inputs(case, None), Inputs.load(tmp_path / "inputs.npz")):
        assert np.array_equal(other.data, inputs.data)
        assert other.weights.keys() == inputs.weights.keys()
        assert all(np.array_equal(other.weights[k], inputs.weights[k]) for k in inputs.weights)
    assert [weight.shape for weight, _ in inputs.layers("flow1")] == [(16, 10), (16, 16), (10, 16)]


@pytest.mark.parametrize("loss", ["bound", "weighted"])
def test_the_reference_is_the_exact_evidence_at_the_exact_posterior(loss: str) -> None:
    """x = z + noise: the posterior of z is N(0.8 x, 0.2), and every draw is log p(x)."""
    case = Case("linear", "", data_dim=2, latent=2, hidden=(), batch=5, particles=3)
    raw_scale = math.log(math.expm1(0.2**0.5))
    weights = {
        "encoder.0.weight": np.concatenate([0.8 * np.eye(2), np.zeros((2, 2))]),
        "encoder.0.bias": np.array([0.0, 0.0, raw_scale, raw_scale]),
        "decoder.0.weight": np.eye(2),
        "decoder.0.bias": np.zeros(2),
    }
    inputs = Inputs(make_inputs(case, None).data, weights)
    x = torch.from_numpy(inputs.data[:5]).double()
    exact = -float(torch.distributions.Normal(0.0, 1.25**0.5).log_prob(x).sum())
    assert reference_losses(case, inputs, 2)[loss] == pytest.approx([exact, exact])


# -- a failed check is no time --------------------------------------------------------------------


class Wrong:
    """A process of a contender with another loss, or one whose loss does not fall."""

    asked: ClassVar[list[str]] = []
    offset = 100.0

    def __init__(self, *_: Any) -> None:
        self.asked.clear()

    def __enter__(self) -> Wrong:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def wait_until_ready(self) -> None:
        pass

    def ask(self, what: str, count: int = 0, **_: Any) -> dict[str, Any]:
        self.asked.append(what)
        if what == "losses":
            case = shrunk(CASES["a"])
            losses = reference_losses(case, make_inputs(case, None), count)["bound"]
            return {"losses": [loss + self.offset for loss in losses]}
        prepared = {"chunk": 1, "reports": "bound", "note": ""}
        return {"prepare": prepared, "memory": {"mib": 1.0}}.get(what, {"seconds": 0.01})


class Idle(Wrong):
    offset = 0.0


@pytest.mark.parametrize(
    ("kind", "told"),
    [(Wrong, "another loss: loss 2.* s.e."), (Idle, "it does not train: a loss of")],
)
def test_a_contender_that_fails_the_check_has_no_time(
    kind: type[Wrong], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "ContenderProcess", kind)
    case = shrunk(CASES["a"])
    config = Config("plane", "cpu", True, ("a",), ("pyro",), draws=30)
    found = measure_case(case, make_inputs(case, None), config, ["pyro"], 3, tmp_path)
    assert found["pyro"].keys() == {"status", "reason"}
    assert found["pyro"]["status"] == "failed"
    assert re.match(told, found["pyro"]["reason"])
    assert ("run" in kind.asked) == (kind is Idle)


def test_a_library_that_is_not_there_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jax.py").write_text("raise ModuleNotFoundError(\"No module named 'jax'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        ContenderProcess("numpyro", tmp_path / "log", tmp_path) as process,
        pytest.raises(Absent, match="not installed: No module named 'jax'"),
    ):
        process.wait_until_ready()


def test_a_process_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    with (
        ContenderProcess("none", tmp_path / "log", tmp_path) as process,
        pytest.raises(Absent, match="crashed: its process ended with status 1: KeyError: 'none'"),
    ):
        process.wait_until_ready()


# -- goals and report -----------------------------------------------------------------------------


def measured(*milliseconds: float, first: float = 2.0) -> dict[str, Any]:
    return {
        "status": "measured",
        "note": "written well",
        "check": {"deviation": -1.5},
        "milliseconds": list(milliseconds),
        "median_milliseconds": float(np.median(milliseconds)),
        "memory_mib": 12.0,
        "first_call_seconds": first,
        "second_start_seconds": 1.5,
        "loss_after": 1.0,
    }


def made_up() -> dict[str, Any]:
    limit = {"flops": 2_000_000, "milliseconds": 0.1, "same_shapes_milliseconds": 0.15}
    plane = {
        "case": {"name": "a", "about": "2-D", "pixels": False},
        "limit": limit,
        "contenders": {
            "ours": measured(1.0, 2.0, 1.0),
            "eager": measured(5.0, 5.0, 5.0),
            "pyro": measured(10.0, 18.0, 9.0),
            "torch_compile": measured(1.2, 2.4, 1.1),
            "numpyro_scan": {"status": "not installed", "reason": "No module named 'jax'"},
            "pythae": {"status": "failed", "reason": "another loss: 3 | 4"},
        },
    }
    images = {**plane, "case": {"name": "c2", "about": "MNIST", "pixels": True}}
    images["contenders"] = {"ours": measured(0.14, 0.15, 0.13)}
    larger = {**plane, "case": {"name": "batch 50", "about": "2-D", "pixels": False}}
    return {
        "command": "python -m experiments speed",
        "machine": {"processor": "a fast one"},
        "peak": {"torch.mm": 2e10},
        "cases": {"a": plane, "c2": images},
        "growth": [{"axis": "batch", "value": 50, **larger}],
    }


KEYS = ("ours", "eager", "pyro", "torch_compile", "numpyro_scan", "pythae")
CONFIG = Config("random", "cpu", False, ("a", "c2", "e"), KEYS)


def test_goals_are_judged_from_the_numbers() -> None:
    found = {(v.case, str(v.goal)): v for v in verdicts(made_up()["cases"], "cpu")}
    stock = found["a", "≥ 8× as fast as Pyro SVI"]
    assert stock.found == (9.0, 9.0, 10.0)
    assert (stock.reached, str(stock)) == (True, "reached")
    by_hand = found["a", "≥ 1.5× as fast as PyTorch by hand, torch.compile"]
    assert by_hand.found == pytest.approx((1.2, 1.1, 1.2))
    assert (by_hand.reached, str(by_hand)) == (False, "missed by a factor 1.25")
    scan = found["a", "≥ 1× as fast as NumPyro, scan"]
    assert (scan.found, scan.reached, str(scan)) == (None, None, "not measured")
    limit = found["c2", "≤ 1.5× the limit"]
    assert limit.found == pytest.approx((1.4, 1.3, 1.5))
    assert limit.reached
    assert ("c100", "≤ 1.5× the limit") not in found
    on_gpu = {(v.case, str(v.goal)): v for v in verdicts(made_up()["cases"], "cuda")}
    assert not on_gpu["a", "≥ 15× as fast as Pyro SVI"].reached
    assert on_gpu["a", "≥ 0.95× as fast as PyTorch by hand, CUDA graph"].found is None


def test_a_profile_is_added_up_by_what_is_computed() -> None:
    events = [
        ("aoti_torch_cpu_mm_out", 3.0),
        ("aoti_torch_cpu__linear_pointwise", 2.0),
        ("graph_0_cpp_fused_relu_1", 3.0),
        ("graph_0_cpp_fused_add_copy__where_2", 2.0),
        ("aten::normal_", 1.0),
        ("aoti_torch_cpu_normal_functional", 0.5),
        ("## Call CompiledFxGraph None ##", 4.0),
        ("aten::copy_", 0.25),
    ]
    assert grouped(events) == {
        "products": 5.0,
        "random": 1.5,
        "update": 2.0,
        "loops": 3.0,
        "rest": 4.25,
    }


def test_when_compiling_pays() -> None:
    contenders = made_up()["cases"]["a"]["contenders"]
    assert steps_until_compiling_pays(contenders) == pytest.approx(2000 / (5 - 1))
    assert steps_until_compiling_pays({"ours": measured(1.0)}) is None
    assert steps_until_compiling_pays({"ours": measured(2.0), "eager": measured(1.0)}) is None
    assert speedup(contenders, "pythae") is None


def test_the_report_tells_times_goals_and_who_is_missing() -> None:
    text = report(CONFIG, made_up(), {"steps.png": "The steps."})
    assert "| (a) | ≥ 8× as fast as Pyro SVI | 9.00 [9.00, 10.00] | reached |" in text
    assert "| 1.20 [1.10, 1.20] | **missed by a factor 1.25** |" in text
    assert "torch.compile | 0.800 | 1.00 | 0.150 |\n\nWhat was tried." in text
    assert "| NumPyro, scan | not installed: No module named 'jax' |  |  |  |  |" in text
    assert "| pythae | failed: another loss: 3 \\| 4 |  |  |  |  |" in text
    assert "| **pyro_vae, compiled** | 1.00 | 1.00–1.50 | 1 | 12 | 2.0 |" in text
    assert "| Pyro SVI | 10.00 | 9.50–14.00 | 9.00 [9.00, 10.00] | 12 | 2.0 |" in text
    assert "| (a) | pyro_vae, compiled | 2.0 | 1.5 | 500 |" in text
    assert "| batch 50 | 1.00 | 5.00 | 10.00 | 1.20 | not installed | 0.100 |" in text
    assert "random grey values" in text
    assert "the farthest of 9 is 1.5 away" in text
    assert "![milliseconds a step](figures/steps.png)\n\nThe steps." in text
    assert "quick run" not in text


def test_the_report_tells_how_long_it_took_and_what_was_timed_again() -> None:
    def rows(*minutes: int) -> str:
        """Of a run whose (a), (c2) and batch 50 were measured at these minutes past the hour."""
        found = made_up()
        found["growth"].append({"axis": "batch", "value": 200, **found["cases"]["a"]})
        every = [*found["cases"].values(), found["growth"][0]]
        for case, minute in zip(every, minutes, strict=True):
            at = f"2026-01-02T10:{minute:02d}:00+00:00"
            case["measured"] = {"at": at, "seconds": 240.0}
        return report(CONFIG, found, {})

    assert "| time | 12 minutes of all measurements added up |" in rows(4, 8, 12)
    assert "timed again" not in rows(4, 8, 12)
    assert "| timed again | (a), into the same run folder, after others |" in rows(20, 8, 12)
    assert "| timed again | (a), (c2), into the same" in rows(20, 24, 12)
    assert "| time |" not in report(CONFIG, made_up(), {})  # of a folder that has no times


@pytest.mark.parametrize(("low", "high"), [(0.1, 4.0), (0.5, 8.0), (4.2, 14.0), (0.02, 17.0)])
def test_a_logarithmic_axis_has_four_labels_or_more(low: float, high: float) -> None:
    axes = Figure().subplots()
    axes.plot([low, high], [0, 1])
    figures._logarithmic(axes, "x")
    shown = [at for at in axes.get_xticks() if low <= at <= high]
    assert 4 <= len(shown) <= 8


def test_figures_are_drawn_of_what_was_measured(tmp_path: Path) -> None:
    captions = experiment.draw(made_up(), tmp_path)
    assert list(captions) == ["steps.png", "growth.png"]
    for name in captions:
        assert (tmp_path / "figures" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    nothing = {"cases": {}, "growth": []}
    assert experiment.draw(nothing, tmp_path) == {}


# -- the command ----------------------------------------------------------------------------------


def test_c_is_both_of_its_sizes() -> None:
    assert chosen_cases("e,c,a") == ("a", "c2", "c100", "e")


def test_what_is_timed_on_a_gpu() -> None:
    assert "cuda_graph" in default_contenders("cuda")
    assert "numpyro_scan" not in default_contenders("cuda")
    assert set(default_contenders("cpu")) == CONTENDERS.keys() - {"cuda_graph"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--cases", "a,f"], "--cases: expected some of a, b, c2, c100, d, e, c; got 'f'"),
        (["--contenders", "jax"], "--contenders: expected some of ours, .*; got 'jax'"),
        (["--device", "gpu"], "--device: expected cpu or cuda; got 'gpu'"),
        (["--device", "cuda"], "--device: expected a CUDA device that torch finds; got none"),
    ],
)
def test_a_wrong_command_says_what_is_expected(
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["speed", *arguments])
    assert re.search(told, capsys.readouterr().err)


def test_a_quick_run_from_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, page = tmp_path / "run", tmp_path / "docs" / "speed.md"
    command = ["speed", "--quick", "--cases", "a", "--contenders", "eager,pyro"]
    command += ["--out", str(folder), "--publish", str(page)]
    assert main(command) == 0
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    found = results["cases"]["a"]["contenders"]
    assert list(found) == ["eager", "pyro"]
    for result in found.values():
        assert result["status"] == "measured"
        assert len(result["milliseconds"]) == 5
        assert abs(result["check"]["deviation"]) < 5
        assert result["loss_after"] < result["check"]["mean"]
    assert "| Pyro SVI |" in (folder / "report.md").read_text(encoding="utf-8")
    assert "](speed/steps.png)" in page.read_text(encoding="utf-8")
    assert {path.name for path in (page.parent / "speed").iterdir()} == {
        "results.json",
        "steps.png",
    }

    capsys.readouterr()
    assert main(command) == 0
    assert "measured already" in capsys.readouterr().out
    assert json.loads((folder / "results.json").read_text(encoding="utf-8")) == results

    # Broken off before it could report: the cases measured are not measured again.
    (folder / "results.json").unlink()
    monkeypatch.setattr(experiment, "measure_case", None)
    assert main(command) == 0
    again = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert again["cases"] == results["cases"]
    assert results["cases"]["a"]["measured"]["seconds"] > 0
    assert "| time | " in (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_contenders_that_compile_compute_the_same_loss(tmp_path: Path) -> None:
    contenders = "ours,pyro,pyro_jit,torch_compile"
    command = ["speed", "--quick", "--cases", "b,d", "--contenders", contenders]
    assert main([*command, "--out", str(tmp_path)]) == 0
    cases = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["cases"]
    assert all(sum(case["profile"].values()) > 0 for case in cases.values())
    assert "Where the time of our step goes" in (tmp_path / "report.md").read_text()
    statuses = {
        (name, key): found["status"]
        for name, case in cases.items()
        for key, found in case["contenders"].items()
    }
    left_out = {("b", "pyro_jit"), ("d", "pyro_jit"), ("d", "torch_compile")}
    assert {key for key, status in statuses.items() if status == "left out"} == left_out
    assert {statuses[key] for key in statuses.keys() - left_out} == {"measured"}
