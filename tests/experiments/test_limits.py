"""The experiment on limits: its measures against closed forms, and a small run from end to end."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro.distributions import transforms
from pyro.distributions.torch_transform import ComposeTransformModule
from torch.distributions import Normal, kl_divergence

from experiments.command_line import main
from experiments.limits.channel import build, capacity_and_kl, measures
from experiments.limits.config import default_config
from experiments.limits.flow import train_flow
from experiments.limits.jobs import CHANNEL, folder_of
from experiments.limits.rates import rate_errors, rates
from experiments.limits.report import rates_found
from experiments.limits.sigma_vae import gaps
from pyro_vae.data import digits
from pyro_vae.data.densities import DENSITIES, GaussianRing


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


def test_the_gap_falls_with_the_square_of_epsilon(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = default_config(quick=True)
    density = DENSITIES["8gaussians"]()
    flow = train_flow(config, density, tmp_path, False)[0].double()
    x = density.sample(50).double()
    epsilons = [1e-2, 1e-3, 1e-4]
    means = np.array([gaps(flow, x, epsilon, 200).mean().item() for epsilon in epsilons])
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


def test_kl_is_capacity_and_excess_in_both_columns() -> None:
    """With dimensions that are not active: KL = R + ½ Σ (P + N − 1), of the active and of all."""
    config = default_config(quick=True)
    found, arrays = measures(build(config, 64), digits().test.draw())
    assert len(arrays["kl"]) == config.latent
    for part, count in (("active", found["active_units"]), ("all", config.latent)):
        total = found[part]
        excess = 0.5 * count * (total["power"] - 1)
        assert total["kl"] == pytest.approx(total["capacity"] + excess)


def test_the_bootstraps_error_is_that_of_the_medians_rate() -> None:
    """log gaps ε² · e^(σ g) with independent g: the standard error of a median's logarithm is
    √(π/2) σ/√N (for many points), of the difference √2 times that, per log 10. The spread of 200
    resamples is known to 5 %, and the bootstrap of a median errs by about N^(−1/4)."""
    rng = np.random.default_rng(0)
    epsilons, spread, points = [1e-1, 1e-2], 0.5, 20_000
    exponents = 2 * np.log(epsilons)[:, None] + spread * rng.standard_normal((2, points))
    (found,) = rate_errors(epsilons, np.exp(exponents))
    expected = math.sqrt(2 * math.pi / 2 / points) * spread / math.log(10)
    assert found == pytest.approx(expected, rel=0.35)


def test_the_report_claims_a_square_where_the_gap_is_small_alone() -> None:
    def result(medians: list[float], rates: list[float], errors: list[float]) -> dict[str, Any]:
        quartiles = [[0.5 * m, m, 2 * m] for m in medians]
        return {"quartiles": quartiles, "rates": rates, "rate_errors": errors}

    told = rates_found(
        [
            result([4.0, 0.2, 0.01], [3.1, 2.6], [0.1, 0.1]),
            result([0.09, 0.001, 1e-5], [2.03, 1.9], [0.01, 0.1]),
        ]
    )
    assert "of the 2 rates that start from a median below 0.1 nats the mean is 1.96" in told
    assert "the farthest from 2 in its standard errors is 2.03 ± 0.01, 3.0 of them away" in told
    assert told.endswith("there the rate is 2.60 to 3.10.")


def test_an_interrupted_flow_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(default_config(quick=True), flow_steps=40)
    density, sample, batches = DENSITIES["8gaussians"](), GaussianRing.sample, [0]

    def counted(self: GaussianRing, count: int, **how: Any) -> torch.Tensor:
        batches[0] += 1
        if batches[0] == stop_at:
            raise KeyboardInterrupt
        return sample(self, count, **how)

    monkeypatch.setattr(GaussianRing, "sample", counted)
    stop_at = -1
    whole, _ = train_flow(config, density, tmp_path / "whole", False)
    of_whole, batches[0] = batches[0], 0
    stop_at = of_whole // 2
    with pytest.raises(KeyboardInterrupt):
        train_flow(config, density, tmp_path / "stopped", False)
    batches[0], stop_at = 0, -1
    flow, _ = train_flow(config, density, tmp_path / "stopped", False)
    assert batches[0] < 0.6 * of_whole  # what was left
    for one, other in zip(whole.parameters(), flow.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_small_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "run", tmp_path / "docs" / "limits.md"
    arguments = ["limits", "--quick", "--out", str(out), "--publish", str(page)]
    assert main(arguments) == 0
    result = folder_of(out, CHANNEL).result()
    assert result["all"]["kl"] > 0
    assert math.isfinite(result["all"]["capacity"])
    text = page.read_text()
    for name in ("sigma_vae", "channel"):
        assert f"](limits/{name}.png)" in text
        assert (page.with_suffix("") / f"{name}.png").exists()
    command = json.loads((out / "results.json").read_text())["command"]
    assert command == "python -m experiments limits --quick"
    capsys.readouterr()
    assert main(arguments) == 0
    assert "2 of 2 runs are done already" in capsys.readouterr().out
