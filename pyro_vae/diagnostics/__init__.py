"""Can the inference be trusted: draws and importance weights in arviz's own container, k̂ of each
datum, models compared; and ``check_model``, the linter of Pyro pairs.

The only package of the library that imports arviz; nothing imports it at the top level, so that
``import pyro_vae`` stays free of arviz::

    from pyro_vae.diagnostics import load, save, to_arviz
"""

from __future__ import annotations

from pyro_vae.diagnostics._container import Container
from pyro_vae.diagnostics.comparison import compare
from pyro_vae.diagnostics.export import to_arviz
from pyro_vae.diagnostics.files import load, save
from pyro_vae.diagnostics.linter import Finding, Findings, Severity, check_model
from pyro_vae.diagnostics.reliability import Reliability, pareto_k, reliability

__all__ = [
    "Container",
    "Finding",
    "Findings",
    "Reliability",
    "Severity",
    "check_model",
    "compare",
    "load",
    "pareto_k",
    "reliability",
    "save",
    "to_arviz",
]
