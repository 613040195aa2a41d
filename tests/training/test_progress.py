"""The bar on stderr."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from pyro_vae import fit
from tests.training.pairs import mean_bound, mean_pair

X = torch.randn(10, 1)
STILL = {"batch_size": 5, "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.0)}


def last_line(text: str) -> str:
    return re.split(r"[\r\n]", text.strip())[-1]


def test_the_bar_shows_epoch_bound_steps_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    fit(mean_pair(0.3), X, epochs=3, **STILL)
    out, err = capsys.readouterr()
    line = last_line(err)
    assert out == ""
    assert line.startswith("epoch 3/3: 100%")
    assert " 6/6 " in line
    assert f"bound {mean_bound(0.3, X):.2f} nats" in line
    assert re.search(r"\[\d\d:\d\d<\d\d:\d\d, .*step/s", line)  # spent < left, speed


def test_with_held_out_data_the_bar_shows_their_bound(capsys: pytest.CaptureFixture[str]) -> None:
    fit(mean_pair(0.3), X, epochs=1, validation=X + 5, **STILL)
    assert f"bound {mean_bound(0.3, X + 5):.2f} nats" in last_line(capsys.readouterr().err)


def test_the_bar_of_a_resumed_run_starts_where_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(mean_pair(), X, epochs=2, checkpoints=tmp_path, progress=False, **STILL)
    fit(mean_pair(), X, epochs=4, checkpoints=tmp_path, **STILL)
    first = re.split(r"[\r\n]", capsys.readouterr().err.strip())[0]
    assert " 4/8 " in first


def test_without_progress_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    fit(mean_pair(), X, epochs=2, progress=False, validation=X)
    assert capfd.readouterr() == ("", "")
