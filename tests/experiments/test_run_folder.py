"""A run folder belongs to one configuration."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.run_folder import RunFolder, RunFolderError, write_text
from tests.experiments.runs import TINY


def folder(path: Path | None = None, experiment: str = "a", **settings: object) -> RunFolder:
    return RunFolder(path, experiment, replace(TINY, **settings))


def test_the_default_folder_is_the_same_for_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder().path == folder().path
    assert folder().path.parent == Path("runs/a")


def test_the_default_folder_is_another_for_every_other_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = {
        "data": "mnist",
        "seeds": 2,
        "epochs": 3,
        "latent": 3,
        "hidden": (9,),
        "batch_size": 7,
        "learning_rate": 1e-4,
        "elbo_samples": 3,
        "evidence_samples": 6,
        "evidence_data": 7,
        "evidence_cells": 64,
    }
    assert {*other, "device"} == {field.name for field in dataclasses.fields(TINY)}
    paths = [folder().path, *(folder(**{name: value}).path for name, value in other.items())]
    assert len(set(paths)) == len(paths)


def test_the_device_is_no_setting(tmp_path: Path) -> None:
    folder(tmp_path / "run")
    assert folder(tmp_path / "run", device="cuda").path == tmp_path / "run"


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    folder(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(RunFolderError) as refusal:
        folder(tmp_path, epochs=7, hidden=(9, 9))
    told = str(refusal.value)
    assert str(tmp_path) in told
    assert "epochs: 7 asked for, 2 there; hidden: [9, 9] asked for, [8] there" in told
    assert "seeds" not in told
    assert "--out" in told
    assert (tmp_path / "config.json").read_bytes() == before


def test_another_experiments_folder_is_refused_and_named(tmp_path: Path) -> None:
    folder(tmp_path)
    with pytest.raises(RunFolderError, match="experiment: b asked for, a there"):
        folder(tmp_path, "b")


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"other files and no config\.json.*--out"):
        folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunFolderError, match=r"expected a folder; got a file.*--out"):
        folder(tmp_path / "run")


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    folder(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["experiment"] == "a"


def test_what_a_run_killed_in_its_first_moment_left_is_taken(tmp_path: Path) -> None:
    (tmp_path / "config.json.partial").write_text('{"exper')
    folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"experiment": "a", "conf',
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b'{"experiment": "a"}',
        b'{"experiment": "a", "config": null}',
        b'{"experiment": "a", "config": [1]}',
    ],
)
def test_a_damaged_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"config\.json: expected a run's configuration"):
        folder(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == content


def test_a_text_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.md"
    write_text(path, "before")

    def half(self: Path, text: str, **_: object) -> int:
        self.write_bytes(text.encode()[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "after")
    assert path.read_text() == "before"
