"""Memory that a step frees is there for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from pyro_vae.training.compiled.memory import keep_freed_memory

def step():
    return [torch.ones(1 << 20) for _ in range(40)]  # 160 MB in blocks of 4

keep_freed_memory()
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


def faults() -> int:
    """Pages a step gets anew from the system."""
    command = [sys.executable, "-c", FAULTS]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator")
def test_pages_are_not_given_back_between_steps() -> None:
    """Without it some 40,000 a step are, unless something small lies above them in the heap."""
    assert faults() < 100
