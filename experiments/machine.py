"""What a run was made on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

__all__ = ["describe_machine", "machines"]

_PACKAGES = ("torch", "pyro-ppl", "arviz")


def describe_machine(device: str) -> dict[str, str]:
    """The processor, what computes on it, and the versions of what computes."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return {
        "processor": f"{_cpu_name()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "software": f"Python {platform.python_version()}, {packages}",
    }


def machines(results: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What runs were made on; where they were made on several machines, all of those."""
    found = [result["machine"] for result in results if "machine" in result]
    names = dict.fromkeys(name for machine in found for name in machine)
    return {name: "; ".join(dict.fromkeys(m[name] for m in found)) for name in names}


def _cpu_name() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
