"""Jobs: what they leave, what is done again, and how they fail."""

from __future__ import annotations

import json
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.posterior_variance import jobs
from experiments.posterior_variance.config import Config
from experiments.posterior_variance.figures import draw
from experiments.posterior_variance.jobs import all_jobs, folder_of
from experiments.posterior_variance.methods import METHODS, build
from experiments.posterior_variance.report import report
from experiments.run_folder import RunFolder, RunFolderError
from pyro_vae import CheckpointError, NonFiniteError, figures
from pyro_vae.data import digits
from tests.experiments.runs import TINY, assert_same_run, without_seconds


def run(folder: Path, config: Config = TINY, processes: int = 1) -> Path:
    path = RunFolder(folder, "posterior_variance", config).path
    jobs.run_all(config, path, None, processes)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three jobs. Not to be changed."""
    return run(tmp_path_factory.mktemp("tiny") / "run")


@pytest.fixture
def own(tiny: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(tiny, tmp_path / "own"))


def files(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}


def text_of(folder: Path, config: Config) -> tuple[str, dict[str, str]]:
    found = [folder_of(folder, job).result() for job in all_jobs(config)]
    captions = draw(config, folder, found)
    return report(config, found, captions, "the command"), captions


# -- what they leave ------------------------------------------------------------------------------


def test_the_folders_layout(tiny: Path) -> None:
    slugs = ["learned-seed0", "constant-seed0", "bilbo-seed0"]
    inside = ["arrays.npz", "posterior.nc", "result.json", "vae.pt"]
    expected = {*slugs, "config.json", *(f"{slug}/{name}" for slug in slugs for name in inside)}
    assert set(files(tiny)) == expected


@pytest.mark.parametrize("method", METHODS)
def test_the_weights_are_those_measured(tiny: Path, method: str) -> None:
    vae, _ = build(method, 1, 64, TINY.hidden, TINY.latent)
    vae.load_state_dict(torch.load(folder_of(tiny, (method, 0)).path / "vae.pt"))
    vae.eval()
    with torch.no_grad():
        mean = vae.guide.posterior(digits().test.batch(slice(None))).mean
    assert np.array_equal(mean.numpy(), folder_of(tiny, (method, 0)).arrays()["mean"])


@pytest.mark.parametrize("method", METHODS)
def test_numbers_are_consistent(tiny: Path, method: str) -> None:
    result = folder_of(tiny, (method, 0)).result()
    assert result["bound"] == pytest.approx(result["reconstruction"] - result["kl"])
    assert result["kl"] > 0
    assert [record["epoch"] for record in result["history"]] == [1, 2]
    assert result["training_seconds"] == pytest.approx(
        sum(record["seconds"] for record in result["history"])
    )
    # Both are estimates of held-out bounds of the same model, the second with more samples.
    assert result["history"][-1]["validation"] == pytest.approx(result["bound"], abs=0.5)
    stored = folder_of(tiny, (method, 0)).arrays()
    assert np.allclose(stored["prior_variance"], result["prior_variance"])
    assert (method == "Learned Σ") == bool(np.all(stored["prior_variance"] == 1))
    assert (method == "Learned Σ") != bool(np.all(stored["variance"] == 1))


@pytest.mark.parametrize("latent", [1, 3])
def test_other_latent_sizes_have_a_report_without_latent_figures(
    tmp_path: Path, latent: int
) -> None:
    config = replace(TINY, latent=latent)
    folder = run(tmp_path, config)
    told, captions = text_of(folder, config)
    assert set(captions) == {"bound.png", "samples.png", "reconstructions.png"}
    assert {path.name for path in (folder / "figures").iterdir()} == set(captions)
    assert f"| latent dimensions | {latent} |" in told
    assert "manifold" not in told
    assert len(folder_of(folder, ("BILBO", 0)).result()["prior_variance"]) == latent


def test_one_seeds_figures_claim_no_comparison_of_seeds(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "save", lambda *_: None)
    _, captions = text_of(own, TINY)
    assert "learned_runs.png" not in captions
    assert "band" not in captions["bound.png"]
    assert {"posterior_means.png", "posterior_variance.png"} <= captions.keys()


def test_one_epoch_is_a_run_without_a_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "save", lambda *_: None)
    config = replace(TINY, epochs=1)
    _, captions = text_of(run(tmp_path, config), config)
    assert "bound.png" not in captions
    assert "samples.png" in captions


# -- what is done again ---------------------------------------------------------------------------


def test_what_is_done_is_not_done_again(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(own)
    run(own)
    assert files(own) == before
    assert capsys.readouterr().out == "3 of 3 runs are done already\n"


def test_a_run_without_a_result_is_done_again(tiny: Path, own: Path) -> None:
    before = files(own)
    (own / "constant-seed0" / "result.json").unlink()
    run(own)
    assert_same_run(own, tiny)
    changed = {name for name, when in files(own).items() if before[name] != when}
    assert {str(Path(name).parts[0]) for name in changed} == {"constant-seed0"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "null",
        lambda text: "\0" * len(text),
        lambda text: text.replace('"seed": 0', '"seed": 1'),
    ],
    ids=["empty", "truncated", "null", "zeros", "another's"],
)
def test_a_damaged_result_is_refused_before_anything_is_trained(
    own: Path, damage: Callable[[str], str]
) -> None:
    path = own / "constant-seed0" / "result.json"
    path.write_text(damage(path.read_text()))
    shutil.rmtree(own / "learned-seed0")
    before = files(own)
    with pytest.raises(RunFolderError) as refusal:
        run(own)
    told = str(refusal.value)
    assert told.startswith(f"{path}: expected the result of method Constant Σ, seed 0; got ")
    assert told.endswith("Delete this file to do that run again.")
    assert files(own) == before


def test_its_advice_helps(tiny: Path, own: Path) -> None:
    path = own / "constant-seed0" / "result.json"
    path.write_text("{")
    with pytest.raises(RunFolderError):
        run(own)
    path.unlink()
    run(own)
    assert_same_run(own, tiny)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 and no more", b"\x93NUMPY"])
def test_missing_or_damaged_arrays_are_refused(own: Path, content: bytes | None) -> None:
    path = own / "bilbo-seed0" / "arrays.npz"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(RunFolderError, match=re.escape(f"Delete the folder {path.parent}")):
        run(own)


def test_checkpoints_of_other_settings_are_refused(own: Path, tmp_path: Path) -> None:
    # As if someone had written his own config.json over a run's.
    shutil.rmtree(own / "bilbo-seed0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "measure", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(own)
    (own / "config.json").unlink()
    other = replace(TINY, batch_size=100)
    with pytest.raises(RunFolderError):
        run(own, other)
    with pytest.raises(CheckpointError, match="batch_size: 100 here, 300 there"):
        jobs.run_all(other, own, None, 1)


# -- how they fail --------------------------------------------------------------------------------


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk on which no file can grow further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Checkpoints of this run are some 60 kB, arrays.npz 120 kB.
@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (1_000, CheckpointError, "expected to write a checkpoint; got"),
        (100_000, RunFolderError, "expected to write the results of this run; got.*too large"),
    ],
    ids=["checkpoint", "arrays"],
)
def test_a_full_disk_is_told_and_costs_nothing(
    tiny: Path, tmp_path: Path, size: int, error: type[Exception], message: str
) -> None:
    with largest_file(size), pytest.raises(error, match=message):
        run(tmp_path / "run")
    assert not list((tmp_path / "run").rglob("result.json"))
    run(tmp_path / "run")
    assert_same_run(tmp_path / "run", tiny)


@pytest.mark.slow
def test_side_by_side_an_error_in_a_process_reaches_the_user(tmp_path: Path) -> None:
    config = replace(TINY, learning_rate=1e30)
    with pytest.raises(NonFiniteError, match=r"epoch 1, step \d: expected finite numbers"):
        run(tmp_path, config, processes=2)


def test_progress_is_what_the_files_tell(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ("BILBO", 0))
    assert folder.steps() == 0
    folder.checkpoints.mkdir(parents=True)
    for step in (3, 15, 200):
        (folder.checkpoints / f"step-{step:09d}.pt").touch()
        assert folder.steps() == step


def test_results_name_the_machine(tiny: Path) -> None:
    machine = folder_of(tiny, ("BILBO", 0)).result()["machine"]
    assert machine["device"] == "cpu"
    assert f"torch {torch.__version__.split('+')[0]}" in machine["software"]
    assert "seconds" not in json.dumps(without_seconds(folder_of(tiny, ("BILBO", 0)).result()))
