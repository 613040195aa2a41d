"""The experiment that audits posteriors: its pairs, its verdicts, and a small run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.command_line import main
from experiments.markdown import minus
from experiments.posterior_audit.audits import _against
from experiments.posterior_audit.config import default_config
from experiments.posterior_audit.jobs import all_jobs, folder_of
from experiments.posterior_audit.methods import GUIDES, OBJECTIVES, Method, build
from experiments.posterior_audit.report.evidence import (
    _difference,
    agreement,
    best,
    comparison,
    unseen,
)
from experiments.posterior_audit.report.posteriors import _apart, _elsewhere, _of_ranks, nuts
from experiments.posterior_audit.report.verdicts import verdicts
from pyro_vae import IWAE, FloatingPrior
from pyro_vae.diagnostics import CalibrationResult, check_model, load


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_pair_is_sound_and_has_the_same_decoder(guide: str, objective: str) -> None:
    vae, maximised = build(Method(guide, objective), 3, 6, (5,), 2)
    first, _ = build(Method("normal", "ELBO"), 3, 6, (5,), 2)
    decoders = (each.likelihood.state_dict() for each in (vae, first))
    for one, other in zip(*(d.values() for d in decoders), strict=True):
        assert torch.equal(one, other)
    assert isinstance(vae.prior, FloatingPrior) == (guide == "constant")
    assert isinstance(maximised, IWAE) == (objective != "ELBO")
    x = torch.rand(4, 6).round()
    loss = maximised.differentiable_loss(vae.model, vae.guide, x)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())
    assert not [f for f in check_model(vae.model, vae.guide, x) if str(f.severity) == "error"]


def test_draws_are_held_against_nuts_in_its_own_deviations() -> None:
    """A guide three times as wide, off by two deviations in one of two dimensions."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4_000, 1, 2)) * [0.5, 2.0]
    found = _against(3 * (truth - truth.mean(0)) + truth.mean(0) + [0.0, 4.0], truth)
    assert found["mean_off"] == pytest.approx([2.0], rel=0.05)
    assert found["width"] == pytest.approx([3.0])


def test_differences_are_told_where_there_are_any() -> None:
    arrays = {
        "ais": np.array([-1.0, -2.0, -3.0]),
        "psis": np.array([-1.1, -2.0, -9.0]),
        "exact": np.array([-1.0, -2.0, -2.5]),
        "ais_error": np.array([0.03, 0.0, 0.1]),
        "psis_error": np.array([0.04, 0.0, 0.1]),
    }
    fine = np.array([True, True, False])
    assert _difference(arrays, "ais", "psis", fine) == ["+0.050 ± 0.025", "100 %", "+0.10"]
    assert _difference(arrays, "psis", "ais", ~fine) == ["−6.000 ± 0.141", "0.0 %", "−6.00"]
    assert _difference(arrays, "psis", "exact", fine) == ["−0.050 ± 0.02", "100 %", "−0.10"]
    assert _difference(arrays, "ais", "exact", ~fine) == ["−0.500 ± 0.100", "0.0 %", "−0.50"]
    assert _difference(arrays, "ais", "psis", np.zeros(3, dtype=bool)) == ["–", "–", "–"]


@pytest.mark.parametrize("exact", [True, False])
def test_estimates_are_held_against_what_is_exact_or_annealed(exact: bool) -> None:
    config, method = default_config(), Method("normal", "ELBO")
    rng = np.random.default_rng(0)
    of = {name: rng.normal(size=4) for name in ("is", "psis", "ais", *["exact"] * exact)}
    of |= {f"{name}_error": np.full(4, 0.1) for name in ("is", "psis", "ais")}
    of["few_k"] = np.array([0.1, 0.2, 0.9, 0.3])
    result = {"few_threshold": 0.7, "sandwich": 0.1, "sandwich_error": 0.01, "exact_change": 1e-4}
    told = agreement(config, {method: result}, {method: of})
    assert ("PSIS − exact" in told) == ("AIS − exact" in told) == exact
    assert ("PSIS − AIS" in told) == (not exact)
    assert "| normal, ELBO | 3 |" in told
    assert ("of 3 cases" in str(unseen({method: result}, {method: of})).lower()) == exact
    for block in told.split("\n\n")[1::2]:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_what_lies_elsewhere_is_what_bound_and_gap_leave_of_the_exact() -> None:
    of = {"bound_of_each": np.array([-4.0, -3.0, -9.0]), "exact": np.array([-1.0, -2.0])}
    assert _elsewhere({**of, "held_out_inference_gap": np.array([1.0, 1.0])}) == "1.000"


def test_chains_that_stayed_apart_are_told() -> None:
    methods = [Method("normal", "ELBO"), Method("flow", "ELBO")]
    well, ill = (
        {"nuts": {"r_hat": [1.0, 1.01, last], "ess": [900.0, 800.0, 5.2]}} for last in (1.04, 2.5)
    )
    assert _apart(dict.fromkeys(methods, well)) == ""
    told = _apart(dict(zip(methods, (well, ill), strict=True)))
    assert "In 1 of 6 rows" in told
    assert "Of 5 effective draws" in told


@pytest.mark.parametrize(("images", "first"), [([3, 0, 2], True), ([0, 1, 2], False)])
def test_k_beside_nuts_is_that_of_every_other_table(images: list[int], first: bool) -> None:
    config, method = default_config(few=4), Method("normal", "ELBO")
    beside = {"mean_off": [0.1] * 3, "width": [1.0] * 3}
    of_nuts = {"image": images, "r_hat": [1.0] * 3, "ess": [99.0] * 3, "divergences": [0] * 3}
    found = {method: {"nuts": {**of_nuts, "guide": beside, "refined": beside}}}
    told = nuts(config, found, {method: {"k": np.array([0.2, 0.3, 9.61, -0.5, 99.0])}})
    assert "| normal, ELBO: high | 9.61 | 4 |" in told
    assert ("| normal, ELBO: low | −0.50 | 1 |" in told) == first
    assert ("chosen by weights drawn once more" in told) != first


def test_words_of_ranks_are_the_librarys() -> None:
    config = default_config(simulations=200, draws=9)
    rng = np.random.default_rng(0)
    u = rng.uniform(size=(200, 3))
    ranks = np.floor(10 * np.stack([u[:, 0], u[:, 1] ** 3, np.abs(u[:, 2] - 0.01)], 1)).astype(int)
    ranks = ranks.clip(0, 9)
    names = ("z[0]", "z[1]", "log p(x, z)")
    result = CalibrationResult(names, 0.95, ranks, 9)
    of = {"ecdf": result.ecdf.astype(np.float32), "ecdf_names": np.array(names)}
    assert _of_ranks(config, of) == result.verdicts
    assert set(result.verdicts.values()) == {"calibrated", "too high"}


def _result(share: float, at_90: float, covered: str) -> dict[str, Any]:
    return {
        "share_above": share,
        "coverage": {"joint": {"0.5": at_90 - 0.4, "0.9": at_90}},
        "covered": {"joint": covered},
        "bound": -100.0 - share,
        "log_evidence": -99.0,
        "held_out_amortisation_gap": 3.0,
        "held_out_inference_gap": 4.0,
        "linter": [],
    }


def test_verdicts_are_those_of_the_numbers() -> None:
    config = default_config(guides=("normal", "constant"), objectives=("ELBO",))
    found = {
        Method("normal", "ELBO"): _result(0.002, 0.88, "calibrated"),
        Method("constant", "ELBO"): _result(0.25, 0.71, "over-confident"),
    }
    told = verdicts(config, found, {method: {} for method in found})
    assert "can be trusted of normal, ELBO." in told
    assert "Calibrated: normal, ELBO; over-confident: constant, ELBO." in told
    assert "whose regions hold the truth in 71 % of the cases" in told
    assert "71 % against 88 %" in told
    assert "bound is 0.25 nats below the other's, its smoothed log p(x) 0.00 nats below" in told
    assert "the encoder has 75 % of normal, ELBO and 75 % of constant, ELBO" in told
    only = default_config(guides=("normal",), objectives=("ELBO",))
    one = {Method("normal", "ELBO"): _result(0.5, 0.9, "x")}
    assert "constant" not in verdicts(only, one, {method: {} for method in one})


NORMAL, FIXED = Method("normal", "ELBO"), Method("constant", "ELBO")
UP_AND_DOWN = np.array([1.0, -1.0] * 8)


def _evidences(apart: float, *, exact: str | None = "grid") -> dict[Method, dict[str, Any]]:
    """The constant's exact log p(x) is so far above, ± ¼; its smoothed one a nat below."""
    normal = np.linspace(-3.0, 0.0, 16)
    own = {NORMAL: normal, FIXED: normal + apart + UP_AND_DOWN}
    smoothed = {NORMAL: np.append(normal, -9.0), FIXED: np.append(normal - 1, -8.0)}
    return {
        method: {
            "log_evidence_of_each": smoothed[method],
            **({exact: own[method]} if exact else {}),
        }
        for method in own
    }


@pytest.mark.parametrize("exact", ["grid", "exact"])
@pytest.mark.parametrize(
    ("apart", "told", "of_all"),
    [
        (
            0.4,
            "0.40 ± 0.25 nats above, which is undecided.",
            "undecided, at 95 %, against normal, ELBO.",
        ),
        (0.6, "0.60 ± 0.25 nats above.", "above all."),
        (-0.6, "0.60 ± 0.25 nats below.", "above all."),
    ],
)
def test_models_are_ranked_by_what_is_exact(
    exact: str, apart: float, told: str, of_all: str
) -> None:
    config = default_config(guides=("normal", "constant"), objectives=("ELBO",))
    found = {method: _result(0.3, 0.9, "calibrated") for method in (NORMAL, FIXED)}
    found[NORMAL] |= {"log_evidence": -1.97}
    arrays = _evidences(apart, exact=exact)
    assert f"its exact log p(x), of 16 images, {told}" in verdicts(config, found, arrays)
    said = str(best(found, arrays))
    assert f"{'constant' if apart > 0 else 'normal'}, ELBO, {of_all}" in said
    assert f"weights put {'normal, ELBO' if apart > 0 else 'the same'} first" in said
    table = comparison(config, found, arrays)
    assert table.splitlines()[4].startswith("| constant" if apart > 0 else "| normal")
    assert f"| {minus(f'{-1 - apart:+.2f}')} | −2.82 | 30 % |" in table
    assert "warn of every smoothed row" in table


def test_without_what_is_exact_weights_rank_and_are_warned_of() -> None:
    config = default_config(guides=("normal", "constant"), objectives=("ELBO",))
    found = {NORMAL: _result(0.0, 0.9, "x"), FIXED: _result(0.3, 0.9, "x")}
    arrays = _evidences(1.0, exact=None)
    assert best(found, arrays) is None
    told = comparison(config, found, arrays)
    assert "warns of 1 row" in told
    assert told.splitlines()[4].startswith("| normal, ELBO | −1.94 | 0.00 | 0.00 |")
    assert told.endswith("| 30 % |")
    assert "nothing to compare" in comparison(config, found, {NORMAL: arrays[NORMAL]})


def test_a_small_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "run", tmp_path / "docs" / "audit.md"
    arguments = ["posterior_audit", "--data", "digits", "--quick", "--guides", "constant,flow"]
    arguments += ["--objectives", "elbo", "--epochs", "1", "--out", str(out)]
    arguments += ["--publish", str(page)]
    assert main(arguments) == 0
    config = default_config(
        "digits", quick=True, guides=("constant", "flow"), objectives=("ELBO",), epochs=1
    )
    for job in all_jobs(config):
        folder = folder_of(out, job)
        result, arrays = folder.result(), folder.arrays()
        assert result["bound"] < result["log_evidence"]
        assert arrays["k"].shape == arrays["label"].shape == arrays["bound_of_each"].shape
        assert result["share_above"] == pytest.approx((arrays["k"] > result["threshold"]).mean())
        gap = result["held_out_amortisation_gap"] + result["held_out_approximation_gap"]
        assert gap == pytest.approx(result["held_out_inference_gap"], abs=1e-4)
        assert np.isfinite(arrays["exact"]).all()
        assert arrays["grid"].shape == arrays["grid_error"].shape == (30,)
        # The grid's posteriors of hardly trained networks are wide.
        np.testing.assert_allclose(arrays["grid"][:6], arrays["exact"], atol=0.01)
        chosen = arrays["k"][result["nuts"]["image"]]
        assert chosen[[0, 2]].tolist() == [arrays["k"][:6].min(), arrays["k"][:6].max()]
        assert arrays["aggregate"].shape == (10_080, 2)
        assert arrays["prior_normal"].shape == (2, 2)
        assert load(folder.path / "posterior.nc").posterior["z"].shape == (1, 100, 32, 2)
        assert load(folder.path / "nuts.nc").posterior["z"].shape == (2, 8, 3, 2)
    text = page.read_text()
    drawn = {path.name for path in (out / "figures").iterdir()}
    assert {"k_elbo.png", "gaps.png", "nuts_flow.png", "rate_distortion.png"} <= drawn
    assert all(f"](audit/{name})" in text for name in drawn)
    results = json.loads((out / "results.json").read_text())
    assert results["command"] == (
        "python -m experiments posterior_audit --data digits --guides constant,flow "
        "--objectives elbo --epochs 1 --quick"
    )
    assert main(arguments) == 0
    assert "2 of 2 runs are done already" in capsys.readouterr().out
