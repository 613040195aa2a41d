"""The linter of Pyro pairs: what is wrong, where, why it matters and how to mend it.

A rule is a function that reads the pair's runs and yields findings; ``_rules.py`` has all of them.
"""

from pyro_vae.diagnostics.linter._findings import Finding, Findings, Severity
from pyro_vae.diagnostics.linter.check import check_model

__all__ = ["Finding", "Findings", "Severity", "check_model"]
