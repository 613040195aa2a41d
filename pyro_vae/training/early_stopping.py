from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EarlyStopping"]


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the held-out bound has not risen for a while; the best weights are put back.

    Args:
        patience: how many validations without a rise are borne.
        min_rise: what counts as a rise, in nats a datum.

    Raises:
        ValueError: for a patience below 1 or a negative rise.
    """

    patience: int = 10
    min_rise: float = 0.0

    def __post_init__(self) -> None:
        if self.patience < 1 or self.min_rise < 0:
            raise ValueError(f"expected patience ≥ 1 and min_rise ≥ 0; got {self}.")
