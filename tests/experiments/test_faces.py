"""The experiment on faces: its networks and methods, and small runs on both data sets' files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.command_line import main
from experiments.faces.config import default_config
from experiments.faces.jobs import folder_of
from experiments.faces.methods import BASELINE, METHODS, build
from experiments.faces.networks import decoder, encoder
from experiments.faces.train import load
from tests.data.face_files import FREY, write_celeba, write_frey


@pytest.fixture(autouse=True)
def no_other_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)


@pytest.mark.parametrize("shape", [(1, 28, 20), (3, 64, 64)])
def test_networks_take_images_and_give_them_back(shape: tuple[int, int, int]) -> None:
    images = torch.rand(2, 5, *shape)
    features = encoder(torch.Size(shape), 4, 3, 6)(images)
    assert features.shape == (2, 5, 6)
    assert decoder(torch.Size(shape), 4, 3)(features[..., :3]).shape == images.shape


def test_methods_differ_in_variances_alone() -> None:
    shape = torch.Size((1, 8, 8))
    vaes = {method: build(method, shape, 4, 3)[0] for method in METHODS}
    first = {name: value.clone() for name, value in vaes[BASELINE].likelihood.state_dict().items()}
    for method, vae in vaes.items():
        for name, value in vae.likelihood.state_dict().items():
            assert torch.equal(first[name], value)
        q = vae.guide.posterior(torch.rand(2, *shape))
        deviation = METHODS[method]
        if deviation is not None:
            torch.testing.assert_close(q.stddev, torch.full((2, 3), deviation))
        # A variance for each pixel, no less than that of rounding to bytes.
        variance = vae.likelihood.variance
        with torch.no_grad():
            variance.log_variance.fill_(-100.0)
        torch.testing.assert_close(variance(), torch.full(shape, 255.0**-2))


def test_a_run_ends_with_the_epoch_that_has_its_iterations() -> None:
    config = default_config(iterations=10_000)
    assert config.epochs(1769) == 179  # of 56 updates
    assert config.epochs(162_770) == 2


def test_frey_faces_are_images(tmp_path: Path) -> None:
    data = load("frey", str(write_frey(tmp_path)))
    assert data.train.event_shape == (1, 28, 20)
    both = torch.cat([data.train.values, data.test.values]).flatten(1)
    assert both.sum() == pytest.approx(FREY.sum() / 255, rel=1e-5)


@pytest.mark.parametrize(("data", "channels"), [("frey", 1), ("celeba", 3)])
def test_a_small_run_from_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str, channels: int
) -> None:
    write = write_frey if data == "frey" else write_celeba
    out, page = tmp_path / "run", tmp_path / "docs" / "faces.md"
    arguments = ["faces", "--data", data, "--data-dir", str(write(tmp_path / "faces")), "--quick"]
    arguments += ["--out", str(out), "--publish", str(page)]
    assert main(arguments) == 0
    text = page.read_text()
    for method in METHODS:
        result = folder_of(out, method).result()
        assert result["bound"] <= result["log_evidence"]
        assert f"| {method} |" in text
    arrays = folder_of(out, BASELINE).arrays()
    assert arrays["originals"].shape[1] == arrays["optimal"].shape[2] == channels
    # The table's difference is that of the images' bounds.
    other = folder_of(out, "BILBO, Σ = I").arrays()
    difference = other["each_bound"].astype(float) - arrays["each_bound"].astype(float)
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    assert f"{difference.mean():+.1f} ± {error:.1f}".replace("-", "−") in text
    assert {"reconstructions.png", "samples.png"} <= {
        p.name for p in page.with_suffix("").iterdir()
    }
    results = json.loads((out / "results.json").read_text())
    assert results["command"] == f"python -m experiments faces --data {data} --quick"
    assert main(arguments) == 0
    assert "3 of 3 runs are done already" in capsys.readouterr().out


def test_missing_faces_are_told_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["faces", "--data", "celeba", "--data-dir", str(tmp_path), "--quick"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr()
    assert "CelebA: expected list_eval_partition.txt" in told.err
    assert "run 1" not in told.out
