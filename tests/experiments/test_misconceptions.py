"""The experiment on misconceptions: solutions in closed form, scales, and a small run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from experiments.command_line import main
from experiments.misconceptions import mixtures
from experiments.misconceptions.config import default_config
from experiments.misconceptions.figures import draw
from experiments.misconceptions.findings import mixture_findings, scale_findings
from experiments.misconceptions.jobs import folder_of, mixture_jobs, scale_jobs
from experiments.misconceptions.mixtures import CONTROL, MIXTURES, measure_mixture
from experiments.misconceptions.scales import build, measure_scale, measures
from experiments.misconceptions.solutions import EPSILONS, MEAN, SCALE, measure_solutions
from pyro_vae import VAE, History, figures, fit
from pyro_vae.data import Examples, digits


def test_the_solutions_gaps_are_the_closed_forms() -> None:
    found = measure_solutions()
    assert found["entropy"] == pytest.approx(math.log(2 * math.pi * math.e * SCALE**2))
    gaps = found["gaps"]
    assert gaps["ignoring z"] == pytest.approx(0.0, abs=1e-7)  # constants in float32
    for e in EPSILONS:
        # The KL of N((x − μ)/σ, ε² I) has E|x − μ|²/2σ² = 1 and ε² − 1 − log ε², the reconstruction
        # E|u|²/2 = 1: the gap is ε².
        assert gaps[f"autoencoding, ε = {e:g}"] == pytest.approx(e**2, abs=1e-7)
    kl = (MEAN**2 + SCALE**2 - 1 - math.log(SCALE**2)) / 2 * 2  # two dimensions
    assert gaps["z as a parameter"] == pytest.approx(kl, abs=1e-7)


@pytest.mark.parametrize("steps", [7, 10, 30])
def test_a_mixture_is_trained_for_exactly_the_steps_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    done = []

    def spy(vae: VAE, data: Examples, *, epochs: int, batch_size: int, **settings: Any) -> History:
        done.append(epochs * len(data) / batch_size)
        return fit(vae, data, epochs=epochs, batch_size=batch_size, **settings)

    monkeypatch.setattr(mixtures, "fit", spy)
    config = replace(default_config(quick=True), steps=steps, points=5, evidence_samples=5)
    for name, times in MIXTURES.items():
        measure_mixture(config, name, 2, tmp_path / name, False)
        assert done.pop() == times * steps


def test_a_small_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "run", tmp_path / "docs" / "misconceptions.md"
    arguments = ["misconceptions", "--quick", "--steps", "10", "--out", str(out)]
    arguments += ["--publish", str(page)]
    assert main(arguments) == 0
    config = default_config(quick=True, steps=10)
    for job in scale_jobs(config):
        result = folder_of(out, job).result()
        assert result["kl"] >= 0
        assert 0 < result["relative_error"] < 10  # three epochs
    for job in mixture_jobs(config):
        assert math.isfinite(folder_of(out, job).result()["gap"])
    text = page.read_text()
    assert "](misconceptions/reconstructions.png)" in text
    assert "| ignoring z | 0.0000 |" in text
    assert "| autoencoding, ε = 0.01 | 0.0001 |" in text
    command = json.loads((out / "results.json").read_text())["command"]
    assert command == "python -m experiments misconceptions --data digits --steps 10 --quick"
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
            # A fixed σ² leaves much to win; the optimal one is refitted to itself.
            won = found["bits_per_dim"] - found["refitted_bits_per_dim"]
            assert won == pytest.approx(0.0, abs=1e-6) if same else won > 0.1
        assert (abs(bits[0] - bits[1]) < 1e-4) is same


def test_the_refitted_variance_is_the_residuals() -> None:
    """Of a VAE that decodes all to zero, the mean square of the images, in their own unit."""
    config = default_config(quick=True)
    images = digits()
    vae = build(config, "MSE", 1.0, 64).eval()
    for parameter in vae.likelihood.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    found, _ = measures(vae, images, 1.0)
    assert found["refitted_variance"] == pytest.approx(images.train.values.square().mean().item())
    assert found["sharpness"] == 0.0


def scale_result(job: str, value: float, **numbers: float) -> dict[str, Any]:
    given = {"kl": 5.0, "active_units": 4, "sharpness": 0.5, "relative_error": 0.2}
    bits = {"bits_per_dim": 1.0, "refitted_bits_per_dim": 0.5}
    return {"job": job, "value": value} | given | bits | numbers


def test_the_report_says_where_the_squared_error_over_and_under_regularises() -> None:
    """σ² = 1/8 of the images' unit is ½ where they are doubled."""
    found = [
        scale_result("MSE", 1 / 16, kl=0.0, active_units=0, sharpness=0.1),
        scale_result("MSE", 1.0, kl=1.5, active_units=2),
        scale_result("MSE", 4.0, kl=9.0, relative_error=0.3),
        scale_result("log MSE", 1.0, refitted_variance=0.125, bits_per_dim=0.25),
    ]
    told = scale_findings(found, latent=20)
    assert "σ² is 0.125 in the images' own unit, which the squared error has at λ = 2.00." in told
    assert "at λ = 1/16 and 1, it over-regularises: the KL is down to 0.00 nats from" in told
    assert "units to 0 from 4, sharpness to 10 % from 50 %; images as they come, λ = 1," in told
    assert "have 2 of 20 units active." in told
    assert "at λ = 4, it under-regularises: the KL is up to 9.00 nats, with an error of" in told
    assert "30.0 % where the logarithm's is 20.0 %" in told
    assert "from 0.75, 0.75 and 0.75 bits/dim down to 0.25, 0.25 and 0.25:" in told
    large_alone = scale_findings(found[2:], latent=20)
    assert "over-regularises" not in large_alone


def test_the_report_says_how_much_of_the_gap_more_steps_take_away() -> None:
    def result(job: str, value: int, gap: float) -> dict[str, Any]:
        return {"job": job, "value": value, "gap": gap, "gap_error": 0.01}

    grown = [result("mixture", 1, 0.001), result("mixture", 16, 0.1)]
    told = mixture_findings([*grown, result(CONTROL, 16, 0.025)])
    assert "from 0.0010 bits for k = 1 to 0.1000 for k = 16. With twice the steps, k = 16" in told
    assert "at least 75 % of it is for want of training, not of latents" in told
    assert "steps are not" in mixture_findings([*grown, result(CONTROL, 16, 0.09)])


def test_the_figure_shows_one_of_the_logarithms_rows_and_says_how_far_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(figures, "save", lambda figure, _: drawn.append(figure))
    config = default_config(quick=True)
    for job in scale_jobs(config):
        other = 0.002 if job == ("log MSE", 0.25) else 0.0
        images = np.full((10, 8, 8), other, np.float32)
        arrays = {"originals": images, "reconstructions": images}
        folder_of(tmp_path, job).keep({}, arrays, torch.nn.Linear(1, 1))
    (caption,) = draw(config, tmp_path).values()
    labels = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert labels == ["input", "MSE, ×1/4", "MSE, ×1", "log MSE, ×1"]
    assert "clipped to [0, 1]" in caption
    assert "at other scales differ by up to 2·10⁻³." in caption
