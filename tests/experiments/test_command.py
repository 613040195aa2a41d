"""``python -m experiments posterior_variance``, from the outside."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from experiments.command_line import main
from experiments.posterior_variance import experiment
from experiments.posterior_variance.methods import METHODS
from experiments.posterior_variance.report import csv_table, summary
from pyro_vae.data import _download
from pyro_vae.diagnostics import load
from tests.experiments.runs import QUICK, TINY, only_run_folder, run_command

Quick = tuple[Path, subprocess.CompletedProcess]
FIGURES = {
    "bound.png",
    "samples.png",
    "reconstructions.png",
    "posterior_means.png",
    "learned_runs.png",
    "posterior_variance.png",
    "manifold_learned.png",
    "manifold_bilbo.png",
}


def stored_results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


# -- a whole run ----------------------------------------------------------------------------------


def test_it_ends_well_and_says_where_the_report_is(quick: Quick) -> None:
    cwd, ended = quick
    assert ended.returncode == 0, ended.stderr
    folder = only_run_folder(cwd).relative_to(cwd)
    assert ended.stdout.startswith(f"run folder: {folder}\n")
    assert ended.stdout.endswith(f"report: {folder}/report.md\n")
    assert "run 6 of 6: method BILBO, seed 1" in ended.stdout
    assert "| Learned Σ |" in ended.stdout
    assert "epoch 2/2" in ended.stderr


def test_everything_is_in_the_one_folder(quick: Quick, quick_folder: Path) -> None:
    cwd, _ = quick
    assert [path.name for path in cwd.iterdir()] == ["runs"]
    jobs = {f"{slug}-seed{k}" for slug in ("learned", "constant", "bilbo") for k in (0, 1)}
    files = {"config.json", "results.json", "results.csv", "report.md", "figures"}
    assert {path.name for path in quick_folder.iterdir()} == jobs | files


def test_its_configuration_is_the_settings(quick_folder: Path) -> None:
    stored = json.loads((quick_folder / "config.json").read_text(encoding="utf-8"))
    assert stored["experiment"] == "posterior_variance"
    assert stored["config"].items() >= {"data": "digits", "epochs": 2, "seeds": 2}.items()


def test_figures_are_pictures_of_something(quick_folder: Path) -> None:
    paths = list((quick_folder / "figures").iterdir())
    assert {path.name for path in paths} == FIGURES
    for path in paths:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        pixels = imread(path)
        assert min(pixels.shape[:2]) > 300
        assert np.ptp(pixels[..., :3]) > 0.5
        assert pixels[..., :3].std() > 0.05  # an empty canvas with axes is below 0.03


def test_the_report_shows_every_figure_there_is(quick_folder: Path) -> None:
    text = (quick_folder / "report.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert sorted(shown) == sorted(f"figures/{name}" for name in FIGURES)


def test_results_are_those_of_the_jobs(quick_folder: Path) -> None:
    stored = stored_results(quick_folder)
    jobs = [(run["method"], run["seed"]) for run in stored["runs"]]
    assert jobs == [(method, seed) for seed in (0, 1) for method in METHODS]
    for path in quick_folder.glob("*/result.json"):
        assert json.loads(path.read_text(encoding="utf-8")) in stored["runs"]
    assert stored["summary"] == summary(stored["runs"])


def test_the_csv_is_the_results(quick_folder: Path) -> None:
    text = (quick_folder / "results.csv").read_text(encoding="utf-8")
    stored = stored_results(quick_folder)
    assert text == csv_table(stored["runs"])
    rows = list(csv.DictReader(text.splitlines()))
    assert [float(row["bound"]) for row in rows] == [run["bound"] for run in stored["runs"]]


def test_the_reports_numbers_are_the_results(quick_folder: Path) -> None:
    text = (quick_folder / "report.md").read_text(encoding="utf-8").replace("−", "-")
    stored = stored_results(quick_folder)

    def mean(method: str, name: str) -> str:
        values = [run[name] for run in stored["runs"] if run["method"] == method]
        assert len(values) == 2
        return f"{sum(values) / 2:.2f}"

    for method in METHODS:
        row = next(line for line in text.splitlines() if line.startswith(f"| {method} | "))
        error = stored["summary"]["bound"][method]["error"]
        names = ("reconstruction", "kl", "log_evidence")
        cells = [mean(method, "bound"), f"{error:.2f}", *(mean(method, name) for name in names)]
        assert row.split(" | ")[1:6] == cells
    bounds = {(run["method"], run["seed"]): run["bound"] for run in stored["runs"]}
    for method in ("Constant Σ", "BILBO"):
        gain = sum(bounds[method, k] - bounds["Learned Σ", k] for k in (0, 1)) / 2
        half = stored["summary"]["difference"][method]["half_width"]
        interval = f"[{gain - half:+.2f}, {gain + half:+.2f}]"
        # The row's name has a minus as well.
        assert f"| {method} - Learned Σ | {gain:+.2f} | {interval} |" in text


def test_the_report_tells_command_machine_versions_and_time(quick_folder: Path) -> None:
    text = (quick_folder / "report.md").read_text(encoding="utf-8")
    command = "python -m experiments posterior_variance --data digits --epochs 2 --quick"
    assert f"| command | `{command}` |" in text
    assert stored_results(quick_folder)["command"] == command
    assert re.search(r"\| processor \| .+, \d+ cores \|", text)
    assert re.search(r"\| software \| Python 3.+, torch .+, pyro-ppl .+, arviz .+ \|", text)
    assert re.search(r"\| training time \| [\d.]+ minutes of all 6 runs added up \|", text)


@pytest.mark.parametrize("slug", ["learned", "constant", "bilbo"])
def test_posteriors_are_arviz_files(quick_folder: Path, slug: str) -> None:
    container = load(quick_folder / f"{slug}-seed0" / "posterior.nc")
    assert container.posterior["z"].shape == (1, 100, 32, 2)
    assert np.isfinite(container.posterior["z"].values).all()
    assert not (quick_folder / f"{slug}-seed1" / "posterior.nc").exists()


def test_the_same_command_again_trains_nothing_and_says_so(
    quick: Quick,
    quick_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cwd, _ = quick
    monkeypatch.chdir(cwd)
    results = (quick_folder / "results.json").read_bytes()
    report = (quick_folder / "report.md").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in quick_folder.glob("*-seed*/*")}
    assert main(QUICK) == 0
    assert "6 of 6 runs are done already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in quick_folder.glob("*-seed*/*")} == before
    assert (quick_folder / "results.json").read_bytes() == results
    assert (quick_folder / "report.md").read_bytes() == report
    assert only_run_folder(cwd) == quick_folder


# -- other settings, other folders ----------------------------------------------------------------


def test_other_settings_in_the_same_folder_are_refused(
    quick_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in quick_folder.rglob("*")}
    assert main([*QUICK, "--seeds", "4", "--out", str(quick_folder)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {quick_folder}: expected a run with the settings asked for")
    assert "(seeds: 4 asked for, 2 there)" in told
    assert {path: path.stat().st_mtime_ns for path in quick_folder.rglob("*")} == before


def test_out_chooses_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "default_config", lambda *_, **__: TINY)
    monkeypatch.setattr(experiment, "draw", lambda *_: {})
    assert main([*QUICK, "--out", "mine"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "report.md").exists()


@pytest.mark.parametrize("place", ["file", "foreign", "damaged"])
def test_a_folder_that_cannot_be_used_is_an_error_of_one_line(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, path in {
        "file": tmp_path / "file",
        "foreign": tmp_path / "foreign" / "photo.jpg",
        "damaged": tmp_path / "damaged" / "config.json",
    }.items():
        if name == place:
            path.parent.mkdir(exist_ok=True)
            path.write_text("{")
    assert main([*QUICK, "--out", str(tmp_path / place)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {tmp_path / place}")
    assert "--out" in told
    assert told.count("\n") == 1


# -- what is wrong is told ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "the following arguments are required: NAME"),
        (["posterior_varience"], "invalid choice: 'posterior_varience' .*posterior_variance"),
        ([*QUICK, "--epoch-s", "3"], "unrecognized arguments: --epoch-s 3"),
        ([*QUICK, "--data", "cifar"], "--data: invalid choice: 'cifar' .*digits.*mnist"),
        ([*QUICK, "--seeds", "0"], "--seeds: expected a whole number ≥ 1; got '0'"),
        ([*QUICK, "--seeds", "-1"], "--seeds: expected a whole number ≥ 1; got '-1'"),
        ([*QUICK, "--epochs", "2.5"], "--epochs: expected a whole number ≥ 1; got '2.5'"),
        ([*QUICK, "--latent", "two"], "--latent: expected a whole number ≥ 1; got 'two'"),
        ([*QUICK, "--jobs", "²"], "--jobs: expected a whole number ≥ 1; got '²'"),
        ([*QUICK, "--device", "gpu"], "--device: expected cpu or cuda; got 'gpu'"),
        ([*QUICK, "--device", "meta"], "--device: expected cpu or cuda; got 'meta'"),
    ],
)
def test_a_wrong_command_says_what_is_expected(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert re.search(told, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("device", "there"), [("cuda", 0), ("cuda:1", 1)])
def test_a_cuda_device_that_is_not_there_is_told_before_anything_is_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    device: str,
    there: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(SystemExit) as ended:
        main([*QUICK, "--device", device])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert f"expected a CUDA device that torch finds; got '{device}', and it finds {there}" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_mnist_not_in_the_folder_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    (tmp_path / "data").mkdir()
    mnist = [*QUICK, "--data", "mnist", "--data-dir", str(tmp_path / "data"), "--jobs", jobs]
    assert main([*mnist, "--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: MNIST: expected train-images-idx3-ubyte")
    assert str(tmp_path / "data") in told
    assert "--data-dir" in told
    assert told.count("\n") == 1


def test_mnist_nowhere_and_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(url: str, **_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_download, "urlopen", no_network)
    assert main([*QUICK, "--data", "mnist", "--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert "Network is unreachable" in told
    assert str(tmp_path / "cache") in told
    assert "PYRO_VAE_DATA" in told
    assert "Traceback" not in told


def test_a_full_disk_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(experiment, "write_text", full)
    monkeypatch.setattr(experiment, "run_all", lambda *_: None)
    monkeypatch.setattr(experiment, "all_jobs", lambda *_: [])
    monkeypatch.setattr(experiment, "report", lambda *_: "")
    monkeypatch.setattr(experiment, "csv_table", lambda *_: "")
    monkeypatch.setattr(experiment, "draw", lambda *_: {})
    assert main([*QUICK, "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"


@pytest.mark.gpu
def test_the_same_command_on_cuda(tmp_path: Path, quick_folder: Path) -> None:
    ended = run_command(*QUICK, "--device", "cuda", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    stored, on_cpu = stored_results(only_run_folder(tmp_path)), stored_results(quick_folder)
    assert stored["machine"]["device"] == torch.cuda.get_device_name()
    assert "--device cuda" in stored["command"]
    for run, reference in zip(stored["runs"], on_cpu["runs"], strict=True):
        # The same weights and data in the same order, other samples of z: the bounds of two
        # epochs agree to within a nat of some 28.
        assert run["bound"] == pytest.approx(reference["bound"], abs=1.0)
