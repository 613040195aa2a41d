"""Checkpoints: written whole or not at all, refused when damaged, and of this run only."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    OneCycleLR,
)

from pyro_vae import ELBO, IWAE, CheckpointError, adam, cosine_decay, fit, step_decay
from pyro_vae.training import Checkpoints
from tests.training.pairs import identical, small_vae, some_digits, weights, without_seconds

STATE = {"weights": torch.arange(1000.0), "position": [1, 2]}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Two checkpoints, of steps 1 and 2."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        checkpoints.save(step, STATE | {"step": step})
    return checkpoints


def newest(checkpoints: Checkpoints) -> Path:
    return checkpoints.paths()[-1]


# -- one file ---------------------------------------------------------------------------------


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nothing").load() is None


def test_what_was_saved_is_loaded(checkpoints: Checkpoints) -> None:
    assert identical(checkpoints.load(), STATE | {"step": 2})


def test_the_last_two_are_kept(checkpoints: Checkpoints) -> None:
    checkpoints.save(1000, STATE)
    names = [path.name for path in checkpoints.folder.iterdir()]
    assert sorted(names) == ["step-000000002.pt", "step-000001000.pt"]


def test_a_leftover_of_a_killed_write_is_ignored(checkpoints: Checkpoints) -> None:
    (checkpoints.folder / "step-000000003.partial").write_bytes(b"half a checkpoint")
    state = checkpoints.load()
    assert state is not None
    assert state["step"] == 2


def test_a_leftover_of_a_killed_write_goes_with_the_next(checkpoints: Checkpoints) -> None:
    (checkpoints.folder / "step-000000003.partial").write_bytes(b"half a checkpoint")
    checkpoints.save(4, STATE)
    assert not list(checkpoints.folder.glob("*.partial"))


def test_its_name_is_given_to_a_whole_file_only(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, seen = os.replace, []

    def spy(source: Path, target: Path) -> None:
        seen.append((Path(source), Path(target).exists(), torch.load(source, weights_only=True)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    checkpoints.save(3, STATE)
    [(source, existed, state)] = seen
    assert source.suffix == ".partial"
    assert not existed
    assert identical(state, STATE)


def test_the_file_is_on_the_disk_before_it_gets_its_name(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    checkpoints.save(3, STATE)
    assert calls[:2] == ["fsync", "replace"]


def test_a_file_with_code_in_it_is_not_run(checkpoints: Checkpoints, tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (tmp_path / "was_run",)

    torch.save(Malicious(), newest(checkpoints))
    with pytest.warns(UserWarning, match="step-000000002"):
        checkpoints.load()
    assert not (tmp_path / "was_run").exists()


# -- damage -----------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def zero_a_page(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:2048] + bytes(512) + content[2560:])


def replace_by_text(path: Path) -> None:
    path.write_text("not a checkpoint\n" * 100)


def replace_by_foreign_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday.txt", "photos")


DAMAGES = [
    truncate,
    halve,
    empty,
    flip_a_byte,
    zero_a_page,
    replace_by_text,
    replace_by_foreign_archive,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_named_and_the_one_before_is_used(
    checkpoints: Checkpoints, damage: Callable[[Path], None]
) -> None:
    damage(newest(checkpoints))
    with pytest.warns(UserWarning, match=r"step-000000002\.pt: expected a whole checkpoint"):
        state = checkpoints.load()
    assert identical(state, STATE | {"step": 1})


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.filterwarnings("ignore:.*expected a whole checkpoint")
def test_all_damaged_is_an_error(checkpoints: Checkpoints, damage: Callable[[Path], None]) -> None:
    for path in checkpoints.paths():
        damage(path)
    with pytest.raises(CheckpointError, match=r"got 2 damaged"):
        checkpoints.load()


@pytest.mark.filterwarnings("ignore:.*expected a whole checkpoint")
def test_a_flipped_bit_anywhere_in_the_tensors_is_seen(checkpoints: Checkpoints) -> None:
    path = newest(checkpoints)
    content = path.read_bytes()
    start = content.index(torch.arange(3.0).numpy().tobytes())
    for place in range(start, start + 4000, 500):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert identical(checkpoints.load(), STATE | {"step": 1})


# -- a full disk ------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_the_checkpoint_before_intact(small_disk: Path) -> None:
    checkpoints = Checkpoints(small_disk)
    checkpoints.save(1, STATE)
    with pytest.raises(CheckpointError, match=r"step-000000002\.pt.*No space left.*make room"):
        checkpoints.save(2, {"weights": torch.zeros(500_000)})
    assert [path.name for path in small_disk.iterdir()] == ["step-000000001.pt"]
    assert identical(checkpoints.load(), STATE)


def test_after_room_is_made_the_run_goes_on(small_disk: Path) -> None:
    whole, resumed = small_vae(), small_vae(seed=5)
    train(small_disk.parent / "whole", whole, epochs=3)
    train(small_disk / "run", epochs=1)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(CheckpointError, match=r"No space left.*make room, then call again"):
        train(small_disk / "run", epochs=3)
    ballast.unlink()
    train(small_disk / "run", resumed, epochs=3)
    assert identical(weights(resumed), weights(whole))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_that_is_full_is_an_error_that_says_so(checkpoints: Checkpoints) -> None:
    (checkpoints.folder / "step-000000003.partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"step-000000003\.pt.*No space left"):
        checkpoints.save(3, STATE)
    assert identical(checkpoints.load(), STATE | {"step": 2})


def test_a_disk_that_is_full_at_the_last_moment_is_an_error_too(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        checkpoints.save(3, STATE)
    monkeypatch.undo()
    assert not list(checkpoints.folder.glob("*.partial"))
    assert identical(checkpoints.load(), STATE | {"step": 2})


# -- whose checkpoints ------------------------------------------------------------------------


def train(folder: Path, vae: nn.Module | None = None, **options: Any) -> Any:
    options = {"epochs": 2, "batch_size": 80, "seed": 1, "optimizer": adam(1e-2)} | options
    data = options.pop("data", None) or some_digits()
    pair = small_vae() if vae is None else vae
    return fit(pair, data, checkpoints=folder, progress=False, **options)


@pytest.mark.parametrize(
    ("differing", "told"),
    [
        ({"seed": 2}, "seed: 2 here, 1 there"),
        ({"batch_size": 40}, "batch_size: 40 here, 80 there"),
        ({"objective": IWAE(2)}, r"objective: IWAE\(num_particles=2\) here, ELBO"),
        ({"optimizer": adam(1e-3)}, r"optimizer: Adam .*'lr': 0.001.* here, .*'lr': 0.01"),
        ({"optimizer": partial(torch.optim.SGD, lr=1e-2)}, "optimizer: SGD"),
        ({"schedule": cosine_decay()}, "schedule: CosineAnnealingLR here, NoneType there"),
        ({"clip_norm": 1.0}, "clip_norm: 1.0 here, None there"),
        ({"data": some_digits(count=199)}, r"data: \[199, 64, .* here, \[200, 64, .* there"),
        ({"data": some_digits().take(torch.arange(199, -1, -1))}, "data: .*'crc32 "),
        ({"data": some_digits(dynamic=False)}, r"binarisation: Grey\(\) here, Dynamic\(\) there"),
    ],
)
def test_those_of_a_run_with_other_settings_are_refused(
    tmp_path: Path, differing: dict[str, Any], told: str
) -> None:
    train(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=told):
        train(tmp_path, **differing)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_error_names_only_what_differs(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(CheckpointError) as error:
        train(tmp_path, seed=2)
    assert "batch_size" not in str(error.value)


def test_those_of_other_networks_are_refused_and_the_pair_left_as_it_was(tmp_path: Path) -> None:
    train(tmp_path)
    other = small_vae(hidden=9)
    before = weights(other)
    with pytest.raises(CheckpointError, match=r"model\.likelihood\.decoder\.layers\.0\.weight"):
        train(tmp_path, other)
    assert identical(weights(other), before)


def test_those_of_a_pair_with_other_frozen_parameters_are_refused(tmp_path: Path) -> None:
    train(tmp_path)
    other = small_vae()
    other.guide.requires_grad_(False)
    with pytest.raises(CheckpointError, match=r"expected the optimizer's state for 4 parameters"):
        train(tmp_path, other)


def test_a_file_of_torch_that_is_no_checkpoint_is_passed_over(tmp_path: Path) -> None:
    history = train(tmp_path)
    torch.save(small_vae().state_dict(), tmp_path / "step-000099999.pt")
    with pytest.warns(UserWarning, match=r"step-000099999\.pt"):
        again = train(tmp_path)
    assert again.records == history.records


# -- going on ---------------------------------------------------------------------------------


def test_a_finished_run_does_no_further_step(tmp_path: Path) -> None:
    vae, again = small_vae(), small_vae(seed=5)
    history = train(tmp_path, vae)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert train(tmp_path, again).records == history.records
    assert identical(weights(again), weights(vae))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_finished_run_prolonged_is_the_longer_run(tmp_path: Path) -> None:
    short, resumed, whole = small_vae(), small_vae(seed=5), small_vae()
    train(tmp_path / "a", short, epochs=2)
    prolonged = train(tmp_path / "a", resumed, epochs=4)
    unbroken = train(tmp_path / "b", whole, epochs=4)
    assert identical(weights(resumed), weights(whole))
    assert without_seconds(prolonged.records) == without_seconds(unbroken.records)


def test_a_run_with_a_schedule_cannot_be_prolonged(tmp_path: Path) -> None:
    train(tmp_path, schedule=cosine_decay())
    with pytest.raises(CheckpointError, match="epochs: 4 here, 2 there"):
        train(tmp_path, schedule=cosine_decay(), epochs=4)


class PowerCut(Exception):
    pass


def power_cut_in(epoch: int) -> Callable[[int], None]:
    def cut(present: int) -> None:
        if present == epoch:
            raise PowerCut

    return cut


def assert_resumes(folder: Path, **options: Any) -> None:
    """A run broken off in epoch 3 and resumed ends as one that was not."""
    broken, resumed, whole = small_vae(), small_vae(seed=5), small_vae()
    with pytest.raises(PowerCut):
        train(folder / "a", broken, epochs=4, before_epoch=power_cut_in(3), **options)
    after = train(folder / "a", resumed, epochs=4, **options)
    unbroken = train(folder / "b", whole, epochs=4, **options)
    assert without_seconds(after.records) == without_seconds(unbroken.records)
    assert identical(weights(resumed), weights(whole))


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.Adam,
        partial(torch.optim.AdamW, lr=1e-2),
        partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
        adam(1e-2, amsgrad=True),
        torch.optim.RMSprop,
        torch.optim.Adagrad,
    ],
)
def test_any_optimizer_of_torch_resumes(tmp_path: Path, optimizer: Any) -> None:
    assert_resumes(tmp_path, optimizer=optimizer)


@pytest.mark.parametrize(
    "schedule",
    [
        step_decay(0.3, 0.6),
        cosine_decay(1e-4),
        lambda optimizer, steps: LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        lambda optimizer, steps: ExponentialLR(optimizer, 0.9),
        lambda optimizer, steps: OneCycleLR(optimizer, 1e-2, total_steps=steps),
        lambda optimizer, steps: CosineAnnealingWarmRestarts(optimizer, 5),
    ],
    ids=["steps", "cosine", "lambda", "exponential", "one cycle", "restarts"],
)
def test_any_schedule_of_torch_resumes(tmp_path: Path, schedule: Any) -> None:
    assert_resumes(tmp_path, schedule=schedule)


def test_a_run_that_anneals_its_objective_resumes(tmp_path: Path) -> None:
    def annealed(objective: ELBO, cut: int | None = None) -> Callable[[int], None]:
        def before_epoch(epoch: int) -> None:
            if epoch == 2:  # an event, which a run resumed in epoch 3 has to hear of
                objective.beta = 0.5
            if epoch == cut:
                raise PowerCut

        return before_epoch

    resumed, whole = small_vae(seed=5), small_vae()
    broken, first, second = ELBO(), ELBO(), ELBO()
    with pytest.raises(PowerCut):
        train(tmp_path, objective=broken, epochs=4, before_epoch=annealed(broken, cut=3))
    train(tmp_path, resumed, objective=first, epochs=4, before_epoch=annealed(first))
    train(tmp_path / "b", whole, objective=second, epochs=4, before_epoch=annealed(second))
    assert first.beta == 0.5
    assert identical(weights(resumed), weights(whole))


def test_after_epoch_is_called_once_for_each_epoch_of_a_resumed_run(tmp_path: Path) -> None:
    seen: list[int] = []

    def look(epoch: int) -> None:
        seen.append(epoch)
        if len(seen) == 2:
            raise PowerCut

    with pytest.raises(PowerCut):
        train(tmp_path, epochs=4, after_epoch=look)
    train(tmp_path, small_vae(seed=5), epochs=4, after_epoch=look)
    assert seen == [1, 2, 3, 4]


def test_random_numbers_of_before_epoch_are_drawn_once_in_a_resumed_run(tmp_path: Path) -> None:
    def draw(epoch: int) -> None:
        torch.rand(epoch)

    def train_with(pair: nn.Module, folder: Path, epochs: int) -> None:
        train(folder, pair, epochs=epochs, before_epoch=draw, checkpoint_every=2)

    resumed, whole = small_vae(), small_vae()
    train_with(whole, tmp_path / "whole", 2)
    in_epoch_2 = Checkpoints(tmp_path / "whole").paths()[0]
    assert in_epoch_2.name == "step-000000005.pt"
    (tmp_path / "part").mkdir()
    shutil.copy(in_epoch_2, tmp_path / "part")
    train_with(resumed, tmp_path / "part", 2)
    assert identical(weights(resumed), weights(whole))


def test_a_damaged_last_checkpoint_costs_steps_but_not_the_result(tmp_path: Path) -> None:
    resumed, whole = small_vae(seed=5), small_vae()
    train(tmp_path, whole, epochs=3)
    halve(Checkpoints(tmp_path).paths()[-1])
    with pytest.warns(UserWarning, match="got a damaged one"):
        train(tmp_path, resumed, epochs=3)
    assert identical(weights(resumed), weights(whole))


def test_checkpoints_of_the_first_version_are_read(tmp_path: Path) -> None:
    """Long runs have such files: their keys and settings must keep their meaning."""
    train(tmp_path, schedule=step_decay(0.5))
    state = Checkpoints(tmp_path).load()
    assert state is not None
    assert list(state) == [
        "settings",
        "pair",
        "optimizer",
        "schedule",
        "rng",
        "position",
        "sums",
        "history",
        "best",
    ]
    assert state["settings"].pop("optimizer").startswith("Adam {'lr': 0.01, ")
    assert state["settings"].pop("data")[:2] == [200, 64]
    assert state["settings"] == {
        "objective": "ELBO(num_particles=1, analytic_kl=False, beta=1.0, free_bits=0.0)",
        "schedule": "MultiStepLR",
        "binarisation": "Dynamic()",
        "batch_size": 80,
        "clip_norm": None,
        "seed": 1,
        "bfloat16": False,
        "compile": False,
        "compile_rest": False,
        "epochs": 2,
    }


def test_settings_that_came_later_are_not_missed(tmp_path: Path) -> None:
    whole, resumed = small_vae(), small_vae(seed=5)
    train(tmp_path, whole, epochs=2)
    path = Checkpoints(tmp_path).paths()[-1]
    state = torch.load(path)
    for key in ("bfloat16", "compile_rest"):
        del state["settings"][key]
    torch.save(state, path)
    train(tmp_path, resumed, epochs=2)
    assert identical(weights(resumed), weights(whole))
    with pytest.raises(CheckpointError, match="bfloat16: True here, False there"):
        train(tmp_path, small_vae(), epochs=2, bfloat16=True)
    assert state["position"] == [2, 0]
    assert state["sums"] == [0.0, 0, 0.0]
    assert state["best"] is None
