"""The experiment on densities: its measures on known densities, and a small run from end to end."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.command_line import main
from experiments.options import names_of
from experiments.run_folder import RunFolderError
from experiments.toy2d.config import default_config
from experiments.toy2d.evaluate import arrays, measure, on_the_grid
from experiments.toy2d.jobs import all_jobs, folder_of, run_all
from experiments.toy2d.methods import METHODS, build
from experiments.toy2d.paper import GOALS, PAPER
from experiments.toy2d.report import report
from experiments.toy2d.train import train
from pyro_vae import VAE, FixedPrior, FixedVariance, NormalGuide, NormalLikelihood
from pyro_vae.data.densities import DENSITIES, Checkerboard, EightGaussians
from pyro_vae.training import Checkpoints

SMALL = default_config(
    quick=True,
    densities=("checkerboard",),
    methods=("VAE", "flow prior"),
    steps=60,
    growth=4,
    points=40,
    evidence_samples=5,
    flow_points=50,
    flow_samples=7,
    grid=16,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished small run. Not to be changed."""
    root = tmp_path_factory.mktemp("toy2d")
    run_all(SMALL, root, processes=1)
    return root


def test_what_is_done_is_not_done_again(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.toy2d.jobs.train", None)
    run_all(SMALL, finished, processes=1)
    assert "2 of 2 runs are done already" in capsys.readouterr().out
    assert not list(finished.glob("*/checkpoints"))


def test_a_result_has_every_number_and_the_report_tells_them(finished: Path) -> None:
    found = [folder_of(finished, job).result() for job in all_jobs(SMALL)]
    for result in found:
        for name in ("negative_bound", "bound_error", "nll", "gap", "gap_error", "grid_nll"):
            assert math.isfinite(result[name]), name
        assert result["entropy"] == pytest.approx(-1.0)
        assert result["nll"] == pytest.approx(result["entropy"] + result["gap"])
        assert result["nll"] <= result["negative_bound"] + 1.0  # bits; of 40 points
        assert 0 <= result["dark_mass"] <= 1.01
    text = report(SMALL, found, {"densities.png": "Densities."}, "python -m experiments toy2d")
    assert "### checkerboard" in text
    assert "**missed by " in text
    assert f"| VAE | {found[0]['negative_bound']:.3f}".replace("-", "−") in text
    told = f"| {found[0]['negative_bound']:.3f} ± {found[0]['bound_error']:.3f} |"
    assert f"| −0.73 {told} **missed by".replace("-", "−") in text  # the paper's, and ours
    assert "40 fresh points" in text
    assert "of the flow prior 50 and 7" in text


def test_with_several_seeds_the_error_is_that_of_their_spread() -> None:
    config = default_config(densities=("checkerboard",), methods=("VAE",), seeds=2)
    numbers = dict.fromkeys(("entropy", "grid_entropy", "nll", "grid_nll", "dark_mass"), 0.0)
    numbers |= dict.fromkeys(("training_seconds", "evaluation_seconds", "gap_error"), 1.0)
    numbers |= {"negative_bound": 0.0, "bound_error": 1.0, "density": "checkerboard"}
    runs = [{**numbers, "method": "VAE", "gap": gap} for gap in (0.1, 0.3)]
    assert "0.2000 ± 0.1000" in report(config, runs, {}, "command")


@pytest.mark.parametrize("steps", [7, 60, 100])
def test_as_many_steps_are_done_as_asked_for(steps: int, tmp_path: Path) -> None:
    config = default_config(quick=True, steps=steps, growth=4, batch_size=3)
    train(config, Checkerboard(), "VAE", 0, tmp_path, False)
    assert Checkpoints(tmp_path).paths()[-1].stem == f"step-{steps:09d}"


def test_a_damaged_file_is_named_and_not_replaced(finished: Path, tmp_path: Path) -> None:
    [job, _] = all_jobs(SMALL)
    folder = folder_of(tmp_path, job)
    assert not folder.is_done()
    folder.path.mkdir()
    for name in ("result.json", "arrays.npz"):
        (folder.path / name).write_bytes((folder_of(finished, job).path / name).read_bytes())
    assert folder.is_done()
    (folder.path / "arrays.npz").write_text("no archive")
    with pytest.raises(RunFolderError, match=r"arrays\.npz: expected the arrays"):
        folder.is_done()
    (folder.path / "result.json").write_text('{"density": "checkerboard", "method": "IWAE"}')
    with pytest.raises(RunFolderError, match="the result of density checkerboard, method VAE"):
        folder.is_done()


def test_the_command_draws_reports_and_publishes(tmp_path: Path) -> None:
    options = ["--quick", "--steps", "60", "--growth", "4", "--data", "8gaussians"]
    out, page = tmp_path / "run", tmp_path / "docs" / "toy2d.md"
    options += ["--methods", "vae,full-covariance"]
    arguments = ["toy2d", *options, "--out", str(out), "--publish", str(page)]
    assert main(arguments) == 0
    assert {p.name for p in (out / "figures").iterdir()} == {
        f"{name}{suffix}.png"
        for name in ("densities", "latent_8gaussians")
        for suffix in ("", "_beyond")  # the paper's methods, the others
    }
    assert "](toy2d/densities.png)" in page.read_text()
    command = json.loads((out / "results.json").read_text())["command"]
    assert command == (
        "python -m experiments toy2d --data 8gaussians --methods vae,full-covariance --steps 60 "
        "--growth 4 --quick"
    )
    assert main([*arguments, "--seeds", "2"]) == 1  # another configuration's folder


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_a_vae_that_has_a_gradient(method: str) -> None:
    vae, objective = build(method, 0, SMALL)
    x = Checkerboard().sample(8)
    objective.differentiable_loss(vae.model, vae.guide, x).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    same, _ = build(method, 0, SMALL)
    for one, other in zip(vae.parameters(), same.parameters(), strict=True):
        assert torch.equal(one, other)


def exact_vae() -> VAE:
    """p(x) = N(x; 0, (0.3² + 0.1²) I), its guide exact: x = z + 0.1 ε."""
    total, noise = 0.3**2 + 0.1**2, 0.1**2
    shrink = 0.3**2 / total
    deviation = math.sqrt(0.3**2 * noise / total)

    class Encoder(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raw = torch.tensor(math.log(math.expm1(deviation)))
            return torch.cat([shrink * x, raw.expand_as(x)], -1)

    return VAE(
        prior=FixedPrior(torch_normal, loc=torch.zeros(2), scale=0.3),
        likelihood=NormalLikelihood(torch.nn.Identity(), FixedVariance(noise)),
        guide=NormalGuide(Encoder()),
    )


def torch_normal(loc: torch.Tensor, scale: torch.Tensor) -> torch.distributions.Distribution:
    import pyro.distributions as dist

    return dist.Normal(loc, scale)


def test_the_measures_of_a_vae_whose_density_is_known() -> None:
    config = default_config(quick=True, points=4000, evidence_samples=2, grid=128)
    vae, density = exact_vae(), EightGaussians()
    found = measure(vae, "VAE", density, config)
    # E[−log p_model] over the data: their second moment is known.
    radius, deviation, total = 4 / (8 * 2**0.5), 0.5 / (8 * 2**0.5), 0.3**2 + 0.1**2
    second = radius**2 + 2 * deviation**2
    nll = (math.log(2 * math.pi * total) + second / (2 * total)) / math.log(2)
    assert found["nll"] == pytest.approx(nll, abs=5 * found["gap_error"])
    # The guide is exact: the bound is the log-likelihood, but for the draws of a closed KL.
    assert found["negative_bound"] == pytest.approx(found["nll"], abs=5 * found["bound_error"])
    found = measure(vae, "IWAE-10", density, config)
    assert found["negative_bound"] == pytest.approx(found["nll"], abs=1e-4)
    assert found["gap"] == pytest.approx(nll - found["entropy"], abs=5 * found["gap_error"])
    grids = arrays(vae, density, config)
    axis = (np.arange(128) + 0.5) / 128 - 0.5
    expected = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * total)) / (2 * math.pi * total)
    np.testing.assert_allclose(grids["model"], expected, rtol=1e-3)


def test_a_perfect_model_has_no_dark_mass_and_the_entropy_on_the_grid() -> None:
    density = EightGaussians()
    axis = (torch.arange(256, dtype=torch.float64) + 0.5) / 256 - 0.5
    second, first = torch.meshgrid(axis, axis, indexing="ij")
    true = density.log_prob(torch.stack([first, second], -1)).exp().numpy()
    found = on_the_grid({"true": true, "model": true})
    # The grid ends at ±½, where 0.02 % of the mass is left out.
    assert found["grid_nll"] == found["grid_entropy"]
    assert found["grid_nll"] == pytest.approx(density.entropy / math.log(2), abs=3e-3)
    assert found["dark_mass"] < 0.01
    uniform = np.ones_like(true)
    assert on_the_grid({"true": true, "model": uniform})["dark_mass"] > 0.4
    # Mass off the grid is dark, too.
    assert on_the_grid({"true": true, "model": 0.5 * true})["dark_mass"] > 0.49


def test_the_original_grid_is_of_the_cells_lower_edges() -> None:
    config = default_config(quick=True, grid=4, grid_samples=2, grid_edges=True)
    found = arrays(exact_vae(), Checkerboard(), config)
    edges = torch.cartesian_prod(*2 * [torch.arange(4) / 4 - 0.5]).flip(-1)
    expected = Checkerboard().log_prob(edges.double()).exp().reshape(4, 4).numpy()
    np.testing.assert_allclose(found["true"], expected, rtol=1e-6)
    original = default_config(original=True, quick=True)
    assert original.grid_edges
    assert original.growth == 16  # a quick run is small, whatever else is asked for


def test_names_are_chosen_in_their_own_order() -> None:
    assert names_of(METHODS)("iwae-10, VAE") == ("VAE", "IWAE-10")
    assert names_of(METHODS)("vae-large-batch") == ("VAE, large batch",)
    with pytest.raises(argparse.ArgumentTypeError, match=r"vae-large-batch.* got 'x, y'"):
        names_of(METHODS)("x,vae,y")
    with pytest.raises(argparse.ArgumentTypeError, match="got 'x, y'"):
        names_of(DENSITIES)("x,8gaussians,y")


def test_every_density_has_a_goal_and_every_row_of_the_paper_is_a_method() -> None:
    assert GOALS.keys() == DENSITIES.keys()
    assert PAPER.keys() <= METHODS.keys()
    assert all(rows.keys() == DENSITIES.keys() for rows in PAPER.values())
