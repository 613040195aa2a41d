"""netCDF files of arviz containers, the same under arviz 0.x and 1.x."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from torch import Tensor

from pyro_vae.diagnostics import Container, _container, load, save, to_arviz

GROUPS = [
    "posterior",
    "sample_stats",
    "log_likelihood",
    "log_prior",
    "observed_data",
    "posterior_predictive",
]


def model(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        logits = z.sum(-1, keepdim=True).expand(*z.shape[:-1], 3)
        pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


def guide(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x[:, :2], 1.0).to_event(1))


@pytest.fixture
def data() -> Container:
    return to_arviz(model, guide, torch.ones(4, 3), 5, seed=0)


def assert_same(actual: Container, expected: Container) -> None:
    assert type(actual) is type(expected) is Container
    assert dict(actual.attrs) == dict(expected.attrs)
    for group in GROUPS:
        xr.testing.assert_identical(actual[group], expected[group])


def test_a_file_holds_all_that_was_saved(data: Container, tmp_path: Path) -> None:
    path = save(data, tmp_path / "draws.nc")
    assert path == tmp_path / "draws.nc"
    assert_same(load(str(path)), data)


def test_nothing_else_is_left_in_the_folder(data: Container, tmp_path: Path) -> None:
    save(data, tmp_path / "draws.nc")
    assert [path.name for path in tmp_path.iterdir()] == ["draws.nc"]


def test_loading_closes_the_file(data: Container, tmp_path: Path) -> None:
    path = save(data, tmp_path / "draws.nc")
    loaded = load(path)
    path.unlink()
    assert_same(loaded, data)
    assert_same(load(save(loaded, path)), data)
    assert_same(load(save(load(path), path)), data)


def test_an_interrupted_save_leaves_the_old_file(
    data: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(data, tmp_path / "draws.nc")

    def interrupted(self: Path, content: memoryview) -> None:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(OSError, match="disk full"):
        save(to_arviz(model, guide, torch.ones(2, 3), 1), path)
    assert [path.name for path in tmp_path.iterdir()] == ["draws.nc"]
    assert_same(load(path), data)


def test_saving_into_a_folder_that_is_not_there(data: Container, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="save: expected an existing folder; got"):
        save(data, tmp_path / "missing" / "draws.nc")


def test_saving_something_else(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save({"posterior": 1}, tmp_path / "draws.nc")


def test_loading_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="load: expected a netCDF file; got"):
        load(tmp_path / "draws.nc")


def test_importing_arviz_shows_no_warning(tmp_path: Path) -> None:
    # arviz 0.23 warns once a day, by a stamp in the user's cache folder: here an empty one.
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-W", "error", _container.__file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
