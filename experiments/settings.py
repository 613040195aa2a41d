"""A run's settings, changed by options of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

__all__ = ["changed"]

C = TypeVar("C")


def changed(base: C, *changes: Mapping[str, Any], **given: Any) -> C:
    """A frozen dataclass with fields replaced; of several changes to one field the last holds, and
    ``None`` stands for what is not given.

    Args:
        base: the defaults.
        changes: sets of fields that go together, such as those of a quick run.
        given: single fields, last of all.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Config:
    ...     steps: int = 100
    ...     width: int = 64
    >>> changed(Config(), {"steps": 3, "width": 8}, steps=5, width=None)
    Config(steps=5, width=8)
    """
    fields = {name: value for change in changes for name, value in change.items()}
    fields |= {name: value for name, value in given.items() if value is not None}
    return replace(base, **fields)  # type: ignore[type-var]
