"""Can the inference be trusted: draws and importance weights in arviz's own container, k̂ of each
datum, models compared, calibration under the model's own prior; and ``check_model``, the linter of
Pyro pairs.

The only package of the library that imports arviz; nothing imports it at the top level, so that
``import pyro_vae`` stays free of arviz::

    from pyro_vae.diagnostics import load, save, to_arviz
"""

from __future__ import annotations

from pyro_vae.diagnostics._container import Container
from pyro_vae.diagnostics.alarms import (
    Alarm,
    CollapseAlarm,
    CollapseWarning,
    Kind,
    Look,
    Thresholds,
)
from pyro_vae.diagnostics.amortisation import (
    AmortisationAudit,
    AuditComparison,
    amortisation_audit,
)
from pyro_vae.diagnostics.calibration import (
    CalibrationResult,
    SymmetryResult,
    simulation_based_calibration,
    variational_sbc,
)
from pyro_vae.diagnostics.comparison import compare
from pyro_vae.diagnostics.coverage import CoverageResult, expected_coverage
from pyro_vae.diagnostics.density import log_density
from pyro_vae.diagnostics.export import to_arviz
from pyro_vae.diagnostics.files import load, save
from pyro_vae.diagnostics.linter import Finding, Findings, Severity, check_model
from pyro_vae.diagnostics.nuts import nuts_reference
from pyro_vae.diagnostics.predictive import PredictiveCheck, posterior_predictive_check
from pyro_vae.diagnostics.reliability import Reliability, pareto_k, reliability

__all__ = [
    "Alarm",
    "AmortisationAudit",
    "AuditComparison",
    "CalibrationResult",
    "CollapseAlarm",
    "CollapseWarning",
    "Container",
    "CoverageResult",
    "Finding",
    "Findings",
    "Kind",
    "Look",
    "PredictiveCheck",
    "Reliability",
    "Severity",
    "SymmetryResult",
    "Thresholds",
    "amortisation_audit",
    "check_model",
    "compare",
    "expected_coverage",
    "load",
    "log_density",
    "nuts_reference",
    "pareto_k",
    "posterior_predictive_check",
    "reliability",
    "save",
    "simulation_based_calibration",
    "to_arviz",
    "variational_sbc",
]
