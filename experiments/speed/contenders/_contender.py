from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from experiments.speed.cases import Case
from experiments.speed.inputs import Inputs

__all__ = ["Batches", "Contender", "LeftOut"]

Batches = NDArray[np.int64]
"""Indices into the data, [steps, batch]."""


class LeftOut(Exception):
    """A case that a contender does not have: the message says why."""


class Contender(ABC):
    """A way to train a case's VAE with Adam, ready to take steps from the given weights.

    Every contender holds the data on its device and gathers batches from them by index. Its
    constructor takes the case, the arrays and the device.

    Raises:
        LeftOut: the case is not one that it has.
    """

    chunk: ClassVar[int] = 1
    """Steps are asked for in multiples of it."""
    reports: str = "bound"
    """Which of the reference's losses its own is: see ``reference_losses``."""
    note: ClassVar[str] = ""
    """What a reader of the numbers should know of how it was written."""

    @abstractmethod
    def __init__(self, case: Case, inputs: Inputs, device: str) -> None: ...

    @abstractmethod
    def first_call(self) -> None:
        """What ``steps`` does, once: whatever is compiled is compiled. The weights stay."""

    @abstractmethod
    def loss_samples(self, count: int) -> list[float]:
        """Draws of the loss of the first batch at the weights as they are, which stay: a sum over
        the batch in nats. Computed by what ``steps`` runs, as far as that can be."""

    @abstractmethod
    def steps(self, batches: Batches) -> None:
        """A training step on each of the batches. On a GPU they may still be under way after."""
