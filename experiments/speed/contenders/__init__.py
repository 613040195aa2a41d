"""What is timed against what: one file for each library, none of which is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from experiments.speed.contenders._contender import Contender, LeftOut

__all__ = ["CONTENDERS", "GROWING", "OURS", "Contender", "Entry", "LeftOut", "default_contenders"]


@dataclass(frozen=True)
class Entry:
    """Where a contender is, and on which devices it is timed by default."""

    label: str
    module: str
    name: str
    devices: tuple[str, ...] = ("cpu",)
    compiles: bool = False
    """Whether a second process finds on disk what the first one compiled."""

    def load(self) -> type[Contender]:
        """Import its module, and with it the library."""
        module = import_module(f"experiments.speed.contenders.{self.module}")
        return getattr(module, self.name)


_BOTH = ("cpu", "cuda")

CONTENDERS = {
    "ours": Entry("pyro_vae, compiled", "ours", "Compiled", _BOTH, compiles=True),
    "eager": Entry("pyro_vae, eager", "ours", "Eager", _BOTH),
    "pyro": Entry("Pyro SVI", "stock_pyro", "Stock", _BOTH),
    "pyro_jit": Entry("Pyro SVI, JIT", "stock_pyro", "Jit"),
    "torch": Entry("PyTorch by hand", "by_hand", "Eager", _BOTH),
    "torch_compile": Entry(
        "PyTorch by hand, torch.compile", "by_hand", "Compiled", _BOTH, compiles=True
    ),
    "cuda_graph": Entry("PyTorch by hand, CUDA graph", "by_hand", "Captured", ("cuda",)),
    "numpyro": Entry("NumPyro, jit", "numpyro_svi", "Update"),
    "numpyro_scan": Entry("NumPyro, scan", "numpyro_svi", "Scan"),
    "pythae": Entry("pythae", "pythae_trainer", "Trainer"),
}
"""In the order of tables and figures."""

OURS = "ours"
"""What the others are compared with."""

GROWING = (OURS, "eager", "pyro", "torch_compile", "numpyro_scan")
"""Those whose growth curves are drawn."""


def default_contenders(device: str) -> tuple[str, ...]:
    """Those that can be timed on a device, ``"cpu"`` or ``"cuda"``."""
    return tuple(key for key, entry in CONTENDERS.items() if device in entry.devices)
