"""What the contenders ran on, and their versions."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import torch

from experiments.machine import describe_machine

__all__ = ["describe"]

_PEERS = ("numpyro", "jax", "pythae")


def describe(device: str) -> dict[str, str]:
    """The machine, torch's threads, and the versions of the libraries compared."""
    peers = ", ".join(f"{name} {_version(name)}" for name in _PEERS)
    return {
        **describe_machine(device),
        "compared with": peers,
        "threads": f"torch {torch.get_num_threads()}; JAX as many as there are cores",
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
