"""The error of everything that reads data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class DataError(ValueError):
    """Data whose content is not what a loader or a model needs.

    The message says where, what was expected, what was got, and what to do.

    >>> from pyro_vae.data import DataError
    >>> issubclass(DataError, ValueError)
    True
    """


def mismatch(expected: object, got: object, remedy: str) -> DataError:
    """The error "expected …; got …. What to do."."""
    return DataError(f"expected {expected}; got {got}. {remedy}")


@contextmanager
def located(where: str | os.PathLike[str]) -> Iterator[None]:
    """Put `where` in front of the message of any `DataError` raised inside."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
