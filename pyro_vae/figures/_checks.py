"""Checks of what a figure is given: every error says where, what was expected, what came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
"""Real numbers of any width; integers will do."""


def shaped(value: ArrayLike, shape: tuple[int | str, ...], where: str, advice: str) -> NDArray[Any]:
    """`value` as an array of `shape`: a number fixes a size, a name only asks that it is not 0.

    Reals come out as doubles, so that sums over many data are exact enough, whatever came in.
    """
    array = np.asarray(value)
    if array.dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
    fits = array.ndim == len(shape) and all(
        size > 0 if isinstance(expected, str) else size == expected
        for size, expected in zip(array.shape, shape, strict=True)
    )
    if not fits:
        expected = ", ".join(map(str, shape))
        raise ValueError(f"{where}: expected shape [{expected}]; got {array.shape}. {advice}")
    return array


def finite(value: ArrayLike, shape: tuple[int | str, ...], where: str, advice: str) -> Array:
    """`value` as an array of `shape` without NaN or infinity."""
    array = shaped(value, shape, where, advice)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise ValueError(
            f"{where}: expected finite values; got {count} NaN or infinite ones. "
            "Leave out a run that diverged."
        )
    return array


def positive(value: ArrayLike, shape: tuple[int | str, ...], where: str, advice: str) -> Array:
    """`value` as a finite array of `shape` above zero everywhere."""
    array = finite(value, shape, where, advice)
    if not (array > 0).all():
        raise ValueError(f"{where}: expected values above 0; got {array.min()}. {advice}")
    return array


def not_empty(panels: Mapping[str, Any], where: str) -> None:
    """A figure without a panel is a mistake of the caller's."""
    if not panels:
        raise ValueError(f"{where}: expected at least one entry; got none. Name what to draw.")
