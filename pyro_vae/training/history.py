from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["History"]


@dataclass
class History:
    """What :func:`~pyro_vae.fit` saw: a record an epoch, in order.

    A record holds ``epoch`` (from 1), ``bound`` (the training bound, nats a datum, an average over
    the epoch's batches as the weights moved), ``validation`` (the held-out bound, nats a datum, or
    ``None`` in epochs without one), ``learning_rate`` and ``seconds`` (the epoch's wall time).

    >>> history = History([{"epoch": 1, "bound": -9.0}, {"epoch": 2, "bound": -8.0}])
    >>> history["bound"]
    [-9.0, -8.0]
    """

    records: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.records)

    def __getitem__(self, name: str) -> list[Any]:
        """One column; records that lack it give ``None``."""
        return [record.get(name) for record in self.records]
