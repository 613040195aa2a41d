"""The experiment on limits: its measures against closed forms, and a small run from end to end."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from pyro.distributions import transforms
from pyro.distributions.torch_transform import ComposeTransformModule
from torch.distributions import Normal, kl_divergence

from experiments.command_line import main
from experiments.limits.channel import capacity_and_kl
from experiments.limits.config import default_config
from experiments.limits.jobs import CHANNEL, folder_of
from experiments.limits.report import rates
from experiments.limits.sigma_vae import gaps, train_flow
from pyro_vae.data.densities import DENSITIES


def test_the_gap_of_an_affine_flow_is_the_closed_form() -> None:
    """f(z) = b + e^a z per coordinate, so all is normal: −log p by N(f(0), e^2a), and the bound's
    gap is ½ Σ_j (ε² e^−2a_j), the trace in eq. 30; what is linear in u leaves nothing."""
    flow = ComposeTransformModule(
        [transforms.AffineCoupling(1, lambda x: (x * 0 + 0.3, x * 0 + 0.7))]
    ).double()
    x = torch.randn(7, 2, dtype=torch.float64)
    epsilon = 0.05
    found = gaps(flow, x, epsilon, 10)
    expected = 0.5 * epsilon**2 * (1 + math.exp(-2 * 0.7))
    torch.testing.assert_close(found, torch.full_like(found, expected))


def test_the_gap_falls_with_the_square_of_epsilon() -> None:
    torch.manual_seed(0)
    config = default_config(quick=True)
    density = DENSITIES["8gaussians"]()
    flow = train_flow(config, density).double()
    x = density.sample(50).double()
    epsilons = [1e-2, 1e-3, 1e-4]
    means = [gaps(flow, x, epsilon, 200).mean().item() for epsilon in epsilons]
    assert rates(epsilons, means)[-1] == pytest.approx(2.0, abs=0.2)


def test_capacity_and_kl_are_those_of_the_posteriors() -> None:
    mean, variance = torch.randn(100, 3), torch.rand(100, 3) + 0.01
    found = capacity_and_kl(mean, variance)
    kl = kl_divergence(Normal(mean, variance.sqrt()), Normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(found["kl"], kl)
    # P + N = 1: eq. 36–38.
    noise = torch.full((10, 1), 0.2)
    found = capacity_and_kl((1 - noise).sqrt(), noise)
    torch.testing.assert_close(found["kl"], found["capacity"])
    assert found["capacity"].item() == pytest.approx(-0.5 * math.log(0.2))


def test_a_small_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "run", tmp_path / "docs" / "limits.md"
    arguments = ["limits", "--quick", "--out", str(out), "--publish", str(page)]
    assert main(arguments) == 0
    result = folder_of(out, CHANNEL).result()
    assert result["kl"] > 0
    assert math.isfinite(result["capacity"])
    text = page.read_text()
    for name in ("sigma_vae", "channel"):
        assert f"](limits/{name}.png)" in text
        assert (page.with_suffix("") / f"{name}.png").exists()
    command = json.loads((out / "results.json").read_text())["command"]
    assert command == "python -m experiments limits --quick"
    capsys.readouterr()
    assert main(arguments) == 0
    assert "2 of 2 runs are done already" in capsys.readouterr().out
