"""The report says what the results say, and nothing more."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import pytest

from experiments.machine import machines
from experiments.posterior_variance.config import Config
from experiments.posterior_variance.figures import shown_seed
from experiments.posterior_variance.methods import METHODS
from experiments.posterior_variance.report import csv_table, report, summary
from tests.experiments.runs import TINY

MACHINE = {"processor": "an abacus, 2 cores", "device": "cpu", "software": "Python 3.11"}
LEARNED = [-24.0, -26.0, -25.0]


def result(method: str, seed: int, bound: float) -> dict[str, Any]:
    return {
        "method": method,
        "seed": seed,
        "bound": bound,
        "reconstruction": bound + 2,
        "kl": 2.0,
        "log_evidence": bound + 0.5,
        "log_evidence_error": 0.01,
        "active_units": 2,
        "reconstruction_error": 3.0,
        "training_seconds": 30.0,
        "machine": MACHINE,
        "history": [{"epoch": 2, "validation": bound}],
    }


def results(constant: list[float], bilbo: list[float]) -> list[dict[str, Any]]:
    """Results in which two methods differ from the first by so much, seed by seed."""
    learned = LEARNED[: len(constant)]
    bounds = {
        "Learned Σ": learned,
        "Constant Σ": [a + b for a, b in zip(learned, constant, strict=True)],
        "BILBO": [a + b for a, b in zip(learned, bilbo, strict=True)],
    }
    seeds = range(len(learned))
    return [result(method, seed, bounds[method][seed]) for seed in seeds for method in METHODS]


def text_of(found: list[dict[str, Any]], config: Config = TINY, **settings: Any) -> str:
    config = replace(config, seeds=len(found) // 3, **settings)
    return report(config, found, {"bound.png": "A caption."}, "python -m experiments …")


def verdict(found: list[dict[str, Any]]) -> str:
    (line,) = re.findall(r"\*\*Is a constant variance better\?\*\* (.*)", text_of(found))
    return line


GAIN, LOSS, UNDECIDED = [1.0, 1.1, 0.9], [-1.0, -1.1, -0.9], [1.0, -1.0, 0.2]


def test_a_gain_a_loss_and_neither_are_told_apart() -> None:
    gain, loss = verdict(results(GAIN, LOSS)).split(" BILBO")
    difference = "averaged over the last quarter, its difference to Learned Σ is"
    alone = "of the measurements alone, the interval lies"
    where = "wherever in it training stops"
    assert gain == (
        f"Constant Σ: yes, {where}; {difference} +1.00 [+0.75, +1.25]; {alone} above zero at 1 "
        "of 1."
    )
    assert loss == (
        f": no, worse, {where}; {difference} −1.00 [−1.25, −0.75]; {alone} below zero at 1 of 1."
    )
    neither = verdict(results(UNDECIDED, GAIN))
    assert (
        f"Constant Σ: undecided; {difference} +0.07 [−2.43, +2.57], which holds zero, as" in neither
    )
    assert "BILBO: yes" in neither


def test_equal_methods_are_undecided() -> None:
    assert verdict(results([0.0] * 3, [0.0] * 3)).count("undecided") == 2


def test_two_seeds_make_no_claim_however_far_apart() -> None:
    assert verdict(results(GAIN[:2], GAIN[:2])).startswith("No claim")


def test_one_seed_makes_no_claim() -> None:
    told = text_of(results([5.0], [5.0]))
    assert verdict(results([5.0], [5.0])).startswith("No claim")
    assert told.count("– (one seed)") == 9
    assert "one seed." in told
    assert "seed(s)" not in told
    assert "| Constant Σ | −19.00 | – |" in told
    assert "seed 0 |" in told


def test_the_tables_numbers_are_the_summarys() -> None:
    found = results(GAIN, UNDECIDED)
    told, numbers = text_of(found), summary(found)
    assert numbers["bound"]["Constant Σ"]["mean"] == pytest.approx(-24.0)
    assert numbers["difference"]["Constant Σ"]["mean"] == pytest.approx(1.0)
    assert numbers["difference"]["BILBO"]["mean"] == pytest.approx(0.2 / 3)
    assert numbers["bilbo_less_constant"]["mean"] == pytest.approx(0.2 / 3 - 1)
    # standard error of −23, −24.9, −24.1; t interval of 1, 1.1, 0.9: 4.3027 × 0.1 / √3
    assert "| Constant Σ | −24.00 | 0.55 | −22.00 | 2.00 | −23.50 | 2.0 |" in told
    pair = "+1.00 | [+0.75, +1.25]"
    assert f"| Constant Σ − Learned Σ | {pair} | {pair} |" in told
    assert "means over 3 seeds" in told


def test_the_papers_numbers_stand_beside_its_own_data_and_latent_size_alone() -> None:
    found = results(GAIN, GAIN)
    assert "−136.5" in text_of(found, data="mnist")
    for settings in ({"data": "digits"}, {"data": "mnist", "latent": 3}):
        told = text_of(found, **settings)
        assert "paper's bound" not in told
        assert "136.5" not in told


def test_a_weaker_baseline_than_the_papers_is_told() -> None:
    # The paper's bounds are −136.5, −134.2, −134.3; these are 1.2 below, 0.9 above, 0.6 below.
    bounds = {"Learned Σ": -137.7, "Constant Σ": -133.3, "BILBO": -134.9}
    found = [result(method, seed, bound) for seed in range(3) for method, bound in bounds.items()]
    told = text_of(found, data="mnist")
    assert "The averages against the paper's bounds" in told
    assert "Learned Σ is 1.2 nats below (−136.5), Constant Σ is 0.9 nats above (−134.2)" in told
    held = "which its interval does not hold"  # the seeds are alike: the intervals have no width
    assert f"Constant Σ − Learned Σ, +4.40, is 1.9 times the paper's +2.3, {held}; BILBO" in told
    assert f"+2.80, is 1.3 times the paper's +2.2, {held}. 1.2 nats of each are there bec" in told
    assert "the paper's bounds" not in text_of(found, data="digits")
    bounds["Learned Σ"] += 2
    found = [result(method, seed, bound) for seed in range(3) for method, bound in bounds.items()]
    assert "worse here" not in text_of(found, data="mnist")


def test_the_paper_is_held_against_averages_not_the_last_epoch() -> None:
    spread = {"Learned Σ": (-138.5, -136.5, -134.5), "Constant Σ": (-134.2,) * 3}
    spread["BILBO"] = spread["Constant Σ"]
    found = [result(method, seed, spread[method][seed]) for seed in range(3) for method in METHODS]
    dipped = [r | {"bound": r["bound"] - 7} for r in found]
    told = text_of(dipped, data="mnist")
    assert (
        "bounds: Learned Σ agrees (−136.5), Constant Σ agrees (−134.2), BILBO is 0.1 nats" in told
    )
    assert "seeds lie between −138.50 and −134.50." in told
    assert "+2.30, is 1.0 times the paper's +2.3, which its interval holds;" in told
    assert "worse here" not in told


def test_pictures_are_of_the_seed_whose_baseline_is_the_median() -> None:
    found = results([9.0, -9.0, 0.0], UNDECIDED)  # the learned bounds: −24, −26, −25
    assert shown_seed(found) == 2
    assert shown_seed([r for r in found if r["seed"] != 2]) == 1
    assert shown_seed(found[:3]) == 0


def test_it_tells_the_command_the_settings_the_machine_and_the_time() -> None:
    told = text_of(results(GAIN, GAIN), latent=3)
    for row in (
        "| command | `python -m experiments …` |",
        "| latent dimensions | 3 |",
        "| training | 2 epochs, batch 300, Adam 0.001, seeds 0–2 |",
        "| training time | 4.5 minutes of all 9 runs added up |",
        "| processor | an abacus, 2 cores |",
        "| device | cpu |",
        "| software | Python 3.11 |",
    ):
        assert row in told
    assert "![bound](figures/bound.png)\n\nA caption." in told


def test_every_machine_that_runs_were_made_on_is_told() -> None:
    found = results(GAIN, GAIN)
    found[4] |= {"machine": MACHINE | {"device": "a GPU"}}
    assert machines(found) == MACHINE | {"device": "cpu; a GPU"}


def test_the_csv_has_a_line_a_run() -> None:
    found = results(GAIN, LOSS)
    rows = list(csv.DictReader(io.StringIO(csv_table(found))))
    assert [(r["method"], int(r["seed"]), float(r["bound"])) for r in rows] == [
        (r["method"], r["seed"], r["bound"]) for r in found
    ]
    assert "machine" not in rows[0]


def test_negative_numbers_have_a_minus_sign() -> None:
    assert not re.search(r"[|\[ ]-\d", text_of(results(GAIN, LOSS)))
