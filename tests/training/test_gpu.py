"""The same on a CUDA device."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import pyro_vae
from pyro_vae import VAE, fit, step_decay
from pyro_vae.training import Checkpoints
from tests.training.pairs import floating_vae, identical, optimal_vae, some_digits, weights

PACKAGE = Path(pyro_vae.__file__).parent
MODEL_CODE = ["distributions", "guides", "likelihoods", "nn", "objectives", "priors", "vae.py"]


def test_models_and_objectives_move_nothing_to_a_device() -> None:
    files = [f for name in MODEL_CODE for f in [PACKAGE / name, *(PACKAGE / name).rglob("*.py")]]
    sources = {file: file.read_text() for file in files if file.is_file()}
    assert len(sources) > 20
    moving = re.compile(r"\.cuda\(|\.cpu\(|\.to\((device|\"cuda|\"cpu|x\.device)|torch\.device\(")
    assert [str(file) for file, source in sources.items() if moving.search(source)] == []


def train(vae: VAE, device: str, **options: Any) -> Any:
    return fit(
        vae,
        some_digits(),
        batch_size=64,
        schedule=step_decay(0.5),
        clip_norm=5.0,
        validation=some_digits(200, 50),
        device=device,
        progress=False,
        **{"epochs": 4} | options,
    )


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
@pytest.mark.parametrize("make", [floating_vae, optimal_vae])
def test_fit_trains_on_the_device(make: Callable[[], VAE], device: str) -> None:
    vae = make()
    cpu, cuda = torch.get_rng_state(), torch.cuda.get_rng_state()
    history = train(vae, device, epochs=10)
    assert history["validation"][-1] > history["validation"][0]
    assert {value.device.type for value in vae.state_dict().values()} == {"cuda"}
    assert torch.equal(cpu, torch.get_rng_state())
    assert torch.equal(cuda, torch.cuda.get_rng_state())


class PowerCut(Exception):
    pass


@pytest.mark.gpu
@pytest.mark.parametrize("make", [floating_vae, optimal_vae])
def test_a_run_on_the_device_resumes(make: Callable[[], VAE], tmp_path: Path) -> None:
    def cut(epoch: int) -> None:
        if epoch == 3:
            raise PowerCut

    broken, resumed, whole = make(), make(), make()
    with pytest.raises(PowerCut):
        train(broken, "cuda", before_epoch=cut, checkpoints=tmp_path)
    train(resumed, "cuda", checkpoints=tmp_path)
    train(whole, "cuda")
    for name, value in weights(whole).items():
        torch.testing.assert_close(resumed.state_dict()[name], value)


@pytest.mark.gpu
def test_a_checkpoint_of_the_device_loads_on_the_cpu(tmp_path: Path) -> None:
    vae = floating_vae()
    train(vae, "cuda", checkpoints=tmp_path)
    state = Checkpoints(tmp_path).load("cpu")
    assert state is not None
    last = {name: value.cpu() for name, value in vae.named_parameters()}
    assert identical({name: state["pair"][name] for name in last}, last)
