"""What every test and every doctest stands on.

This file is at the root, not in ``tests/``, so that the doctests under ``pyro_vae/`` get it too.
"""

from __future__ import annotations

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from jaxtyping import install_import_hook
from matplotlib import rcParams
from pyro.poutine.runtime import _PYRO_STACK

# The shapes and types in the library's signatures are checked at every call. As for mypy, an int
# will do for a float (PEP 484's "tower").
install_import_hook(
    "pyro_vae", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

# The tests are small: one thread is fastest, and does not stall where the processor is shared.
torch.set_num_threads(1)


# What a test could flip for the tests after it: how to read it, and how to put it back.
_GLOBAL: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "torch default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch default device": (torch.get_default_device, torch.set_default_device),
    "torch gradients enabled": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch float32 matmul precision": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "torch deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch threads": (torch.get_num_threads, torch.set_num_threads),
    "open Pyro handlers": (
        lambda: list(_PYRO_STACK),
        lambda stack: operator.setitem(_PYRO_STACK, slice(None), stack),
    ),
    # with them, whether Pyro and torch.distributions validate their arguments
    "pyro.settings": (pyro.settings.get, lambda settings: pyro.settings.set(**settings)),
    "numpy.geterr()": (np.geterr, lambda errors: np.seterr(**errors)),
    # past the class's own lookup, which would choose a backend when asked for it
    "matplotlib.rcParams": (
        lambda: {key: dict.__getitem__(rcParams, key) for key in rcParams},
        lambda values: dict.update(rcParams, values),
    ),
}


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, dict):
        keys = [key for key in before if before[key] != after.get(key)]
        before, after = ({key: state.get(key) for key in keys} for state in (before, after))
    return f"{before!r} before, {after!r} after"


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """Seed 0, an empty parameter store, validation on; and nothing global flipped afterwards."""
    pyro.clear_param_store()
    pyro.enable_validation(True)
    pyro.set_rng_seed(0)
    before = {name: read() for name, (read, _) in _GLOBAL.items()}
    yield
    flipped = []
    for name, (read, write) in _GLOBAL.items():
        after = read()
        if after != before[name]:
            flipped.append(f"  {name}: {_difference(before[name], after)}")
            write(before[name])
    if flipped:
        pytest.fail(
            "the test left global state flipped, which the tests after it would have met:\n"
            + "\n".join(flipped),
            pytrace=False,
        )


@pytest.fixture
def float64() -> Iterator[torch.dtype]:
    """Double precision as torch's default for the length of a test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch.float64
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data sets, or the test is skipped."""
    folder = os.environ.get("PYRO_VAE_DATA")
    if not folder:
        pytest.skip(
            "set PYRO_VAE_DATA to the folder that holds mnist/, binarized_mnist/ and frey_faces/"
        )
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"PYRO_VAE_DATA names no folder: {path}", pytrace=False)
    return path


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
