"""What a comparison says of when training stops: known histories, known sentences."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.paired import Estimate, estimate
from experiments.posterior_variance.stopping import Late, answer, averages, late, stopping

A, B = "Learned Σ", "Constant Σ"
FAR = [[1.0, 1.1, 0.9], [-1.0, -1.1, -0.9], [1.0, -1.0, 0.2]]  # above zero, below, around it


def run(method: str, seed: int, bounds: list[float]) -> dict[str, Any]:
    """A run measured every other epoch."""
    records: list[dict[str, Any]] = []
    for number, bound in enumerate(bounds, 1):
        records += [{"epoch": 2 * number - 1, "validation": None}]
        records += [{"epoch": 2 * number, "validation": bound}]
    return {"method": method, "seed": seed, "bound": bounds[-1] + 0.25, "history": records}


def runs(differences: list[list[float]]) -> list[dict[str, Any]]:
    """Three seeds, whose differences at each measurement are these."""
    seeds = range(3)
    learned = [run(A, s, [-20.0 - s] * len(differences)) for s in seeds]
    return learned + [run(B, s, [d[s] - 20 - s for d in differences]) for s in seeds]


@pytest.mark.parametrize(
    ("measurements", "quarter"), [(1, 1), (2, 1), (4, 1), (5, 2), (8, 2), (25, 7)]
)
def test_the_last_quarter_is_averaged_for_each_seed(measurements: int, quarter: int) -> None:
    bounds = [float(i) for i in range(measurements)]
    expected = (sum(bounds[-quarter:])) / quarter
    assert averages([run(A, 0, bounds), run(A, 1, bounds)], A) == pytest.approx([expected] * 2)
    both = [run(A, 0, bounds), run(B, 0, bounds)]
    assert len(late(both, B, A).sides) == quarter


def test_measurements_are_counted_by_the_side_of_zero_that_their_interval_lies_on() -> None:
    early = [[50.0, 0.0, -50.0]] * 9
    found = late(runs([*early, *FAR]), B, A)  # the last 3 of 12
    assert found.sides == (1, -1, 0)
    # Each seed's differences averaged: (1 − 1 + 1) / 3, (1.1 − 1.1 − 1) / 3, (0.9 − 0.9 + 0.2) / 3.
    expected = estimate([1 / 3, -1 / 3, 0.2 / 3])
    assert vars(found.average) == pytest.approx(vars(expected))
    assert late(runs([*early, *FAR]), A, B).sides == (-1, 1, 0)


def test_one_seed_lies_on_no_side() -> None:
    found = late([run(A, 0, [1.0]), run(B, 0, [9.0])], B, A)
    assert found.average == Estimate(8.0, None, None)
    assert found.sides == (0,)


ABOVE, BELOW, AROUND = (Estimate(mean, 0.1, 0.25) for mean in (1.0, -1.0, 0.1))
IS = "averaged over the last quarter, its difference to L is"


@pytest.mark.parametrize(
    ("found", "last", "told"),
    [
        (
            Late(ABOVE, (1, 1, 1)),
            ABOVE,
            f"M: yes, wherever in it training stops; {IS} +1.00 [+0.75, +1.25]; of the "
            "measurements alone, the interval lies above zero at 3 of 3.",
        ),
        (
            Late(ABOVE, (1, 0, 1)),
            ABOVE,
            f"M: yes on average, but it depends on when training stops; {IS} +1.00 [+0.75, +1.25]; "
            "of the measurements alone, the interval lies above zero at 2 of 3.",
        ),
        (
            Late(BELOW, (-1, 0, 1)),
            BELOW,
            f"M: no, worse on average, but it depends on when training stops; {IS} −1.00 "
            "[−1.25, −0.75]; of the measurements alone, the interval lies below zero at 1 of 3.",
        ),
        (
            Late(ABOVE, (1, 1)),
            AROUND,
            f"M: yes on average, but it depends on when training stops; {IS} +1.00 [+0.75, +1.25]; "
            "of the measurements alone, the interval lies above zero at 2 of 2, and that of the "
            "final bounds, [−0.15, +0.35], around it.",
        ),
        (
            Late(ABOVE, (1, 0)),
            BELOW,
            f"M: yes on average, but it depends on when training stops; {IS} +1.00 [+0.75, +1.25]; "
            "of the measurements alone, the interval lies above zero at 1 of 2, and that of the "
            "final bounds, [−1.25, −0.75], on the other side.",
        ),
        (
            Late(AROUND, (0, 0)),
            ABOVE,
            f"M: undecided; {IS} +0.10 [−0.15, +0.35], which holds zero, as at every measurement "
            "alone.",
        ),
        (
            Late(AROUND, (0, 1)),
            ABOVE,
            f"M: undecided; {IS} +0.10 [−0.15, +0.35], which holds zero, though at 1 of 2 "
            "measurements alone it is excluded.",
        ),
    ],
)
def test_the_answer_is_as_sure_as_the_average_the_measurements_and_the_end_together(
    found: Late, last: Estimate, told: str
) -> None:
    assert answer("M", "L", found, last) == told


def test_the_table_has_the_average_and_the_counts() -> None:
    told = stopping(runs([[50.0, 0.0, -50.0]] * 9 + [FAR[0]] * 3), [(B, A)])
    assert "(3 of 12: epochs 20–24)" in told
    assert f"| {B} − {A} | +1.00 | [+0.75, +1.25] | 3 | 0 | 0 |" in told
    assert f"{A} −21.00, and +0.25 at the end; {B} −20.00, and +0.25 at the end." in told


def test_a_run_with_one_measurement_has_a_table() -> None:
    told = stopping([run(A, 0, [-3.0]), run(B, 0, [-2.0])], [(B, A)])
    assert "(1 of 1: epoch 2)" in told
    assert f"| {B} − {A} | +1.00 | – (one seed) | – | – | – |" in told
