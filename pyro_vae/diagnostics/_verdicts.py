"""What the results of tests of many quantities share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

PerQuantity = Float[np.ndarray, "quantities"]
Passed = Bool[np.ndarray, "quantities"]

_NAMED = 5  # faults that are told one by one


@dataclass(frozen=True, eq=False)
class Verdicts(ABC):
    """One test a quantity, all together at one confidence."""

    names: tuple[str, ...]
    """z, or z[0], z[1], …, for each latent site in the model's order; then other quantities."""
    confidence: float
    """The probability that a calibrated guide is found so in all quantities."""

    @property
    @abstractmethod
    def num_simulations(self) -> int:
        """How many pairs of z and x were simulated."""

    @property
    @abstractmethod
    def p_values(self) -> PerQuantity:
        """The p-value of each quantity's test, [quantities], not corrected for their number."""

    @property
    def passed(self) -> Passed:
        """Whether each quantity is calibrated, as far as these simulations tell, [quantities].

        That is, whether its p-value is above (1 − confidence) / quantities (Bonferroni).
        """
        return self.p_values > 1 - self.confidence_of_each

    @property
    def calibrated(self) -> bool:
        """Whether all are."""
        return bool(self.passed.all())

    @property
    def verdicts(self) -> dict[str, str]:
        """``"calibrated"``, or what is wrong in words, of each quantity."""
        words = zip(self.names, self.passed, self._faults(), strict=True)
        return {name: "calibrated" if passed else fault for name, passed, fault in words}

    @property
    def confidence_of_each(self) -> float:
        """The confidence of one quantity's test or band, by which all together have theirs."""
        return 1 - (1 - self.confidence) / len(self.names)

    def __str__(self) -> str:
        """The verdict in words; the worst faults first."""
        return f"{self._heading()}, {self.num_simulations} simulations: {self._verdict()}."

    def _verdict(self) -> str:
        if self.calibrated:
            return f"no fault in {len(self.names)} quantities (least p {self.p_values.min():.2g})"
        failed = [i for i in np.argsort(self.p_values) if not self.passed[i]]
        faults = self._faults()
        told = [f"{self.names[i]} {faults[i]} (p {self.p_values[i]:.2g})" for i in failed[:_NAMED]]
        more = [f"{len(failed) - _NAMED} more"] if len(failed) > _NAMED else []
        return f"{len(failed)} of {len(self.names)} at fault: {', '.join(told + more)}"

    @abstractmethod
    def _heading(self) -> str: ...

    @abstractmethod
    def _faults(self) -> list[str]:
        """What would be wrong with each quantity, were its test to fail."""


def check_confidence(where: str, confidence: float) -> None:
    """Raise a ``ValueError`` for what is no probability of an everyday event."""
    if not 0 < confidence < 1:
        raise ValueError(f"{where}: expected a confidence in (0, 1); got {confidence}. Take 0.95.")
