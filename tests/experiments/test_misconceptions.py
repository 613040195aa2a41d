"""The experiment on misconceptions: solutions in closed form, scales, and a small run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from experiments.command_line import main
from experiments.misconceptions.config import default_config
from experiments.misconceptions.jobs import folder_of, mixture_jobs, scale_jobs
from experiments.misconceptions.scales import measure_scale
from experiments.misconceptions.solutions import EPSILONS, MEAN, SCALE, measure_solutions
from pyro_vae.data import digits


def test_the_solutions_gaps_are_the_closed_forms() -> None:
    found = measure_solutions()
    assert found["entropy"] == pytest.approx(math.log(2 * math.pi * math.e * SCALE**2))
    gaps = found["gaps"]
    assert gaps["ignoring z"] == pytest.approx(0.0, abs=1e-7)  # constants in float32
    for e in EPSILONS:
        # The KL of N((x − μ)/σ, ε² I) has E|x − μ|²/2σ² = 1 and ε² − 1 − log ε², the sampled
        # reconstruction E|u|²/2 = 1 but for noise: the gap is ε².
        error = 6 / math.sqrt(20_000 * 50)  # of E|u|²/2 over a million draws, six times
        assert gaps[f"autoencoding, ε = {e:g}"] == pytest.approx(e**2, abs=error + 1e-3)
    kl = (MEAN**2 + SCALE**2 - 1 - math.log(SCALE**2)) / 2 * 2  # two dimensions
    assert gaps["z as a parameter"] == pytest.approx(kl, abs=1e-7)


def test_a_small_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "run", tmp_path / "docs" / "misconceptions.md"
    arguments = ["misconceptions", "--quick", "--out", str(out), "--publish", str(page)]
    assert main(arguments) == 0
    config = default_config(quick=True)
    for job in scale_jobs(config):
        result = folder_of(out, job).result()
        assert result["kl"] >= 0
        assert 0 < result["relative_error"] < 10  # three epochs
    for job in mixture_jobs(config):
        assert math.isfinite(folder_of(out, job).result()["gap"])
    text = page.read_text()
    assert "](misconceptions/reconstructions.png)" in text
    assert "| ignoring z | 0.000 |" in text
    command = json.loads((out / "results.json").read_text())["command"]
    assert command == "python -m experiments misconceptions --data digits --quick"
    capsys.readouterr()
    assert main(arguments) == 0
    assert "runs are done already" in capsys.readouterr().out


def test_the_log_of_the_squared_error_does_not_depend_on_the_unit(tmp_path: Path) -> None:
    """On images times λ the optimal variance is times λ², so training is the same but for rounding;
    the squared error's is not."""
    config = default_config(quick=True, epochs=1)
    for loss, same in (("log MSE", True), ("MSE", False)):
        bits = []
        for scale in (0.25, 1.0):
            checkpoints = tmp_path / f"{loss}{scale}"
            found, _, _ = measure_scale(config, digits(), loss, scale, checkpoints, False)
            bits.append(found["bits_per_dim"])
        assert (abs(bits[0] - bits[1]) < 1e-4) is same
