"""Errors with a name of their own, so that a script can tell them apart."""

from __future__ import annotations

__all__ = ["CheckpointError", "NonFiniteError", "PairError", "ShapeError", "without_trace"]


class ShapeError(ValueError):
    """Sizes that do not fit together: a latent size and a network, data and a decoder."""


class PairError(ValueError):
    """A model/guide pair that an objective cannot score rightly; the message says why."""


class NonFiniteError(ArithmeticError):
    """A NaN or an infinity in the objective or its gradient; names the epoch, step and term."""

    steps: int = 0
    """Steps of the call that were done before it."""
    member: int = 0
    """Which of an ensemble."""
    term: str = ""
    """The term that is not finite."""


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged or belongs to another run."""


def without_trace(error: Exception) -> str:
    """An error's own words, without the table of shapes that Pyro appends."""
    return str(error).split("Trace Shapes:")[0].strip().rstrip(".")
