"""Values of sample sites as labelled arrays.

Arrays that hold draws have the leading dims ``chain`` (of size 1) and ``draw``, as arviz wants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

DRAW_PLATE = "_pyro_vae_draw"
"""The name of the plate in which a program is run for many draws at once."""

Groups = Mapping[str, Mapping[str, xr.DataArray]]
"""The arrays of each group by their names."""


def site_array(name: str, site: Mapping[str, Any]) -> xr.DataArray:
    """A site's value with a named dim for each of its plates, then for each event dim."""
    fn = site["fn"]
    plates = {frame.dim: _dim_name(frame) for frame in site["cond_indep_stack"]}
    # Batch dims that belong to no plate are there to align the others, and of size 1.
    batch = {plates[d]: fn.batch_shape[d] for d in range(-len(fn.batch_shape), 0) if d in plates}
    event = {f"{name}_dim_{i}": size for i, size in enumerate(fn.event_shape)}
    values = site["value"].expand(fn.shape()).reshape([*batch.values(), *event.values()])
    return _array([*batch, *event], values)


def per_datum(values: Tensor) -> xr.DataArray:
    """Numbers per draw and datum, [draw, datum]."""
    return _array(["draw", "datum"], values)


def concatenate(chunks: Sequence[Groups]) -> dict[str, dict[str, xr.DataArray]]:
    """Chunks of draws put end to end."""
    return {
        group: {name: _end_to_end([chunk[group][name] for chunk in chunks]) for name in arrays}
        for group, arrays in chunks[0].items()
    }


def dataset(
    arrays: Mapping[str, xr.DataArray],
    attrs: Mapping[str, object],
    coords: Mapping[str, ArrayLike] | None = None,
) -> xr.Dataset:
    """The arrays as one dataset, every dim with its coordinate or 0, 1, …

    Raises:
        ValueError: a coordinate of another length than its dim.
    """
    data = xr.Dataset(dict(arrays), attrs=dict(attrs))
    given = {
        dim: np.asarray((coords or {}).get(str(dim), np.arange(n))) for dim, n in data.sizes.items()
    }
    for dim, values in given.items():
        if values.shape != (data.sizes[dim],):
            raise ValueError(
                f"coords: expected {data.sizes[dim]} values for {dim!r}; got shape {values.shape}."
            )
    return data.assign_coords(given)


def _end_to_end(arrays: Sequence[xr.DataArray]) -> xr.DataArray:
    dims = arrays[0].dims
    return xr.DataArray(np.concatenate(arrays, axis=dims.index("draw")), dims=dims)


def _dim_name(frame: Any) -> str:
    if frame.name == DRAW_PLATE:
        return "draw"
    return "datum" if frame.dim == -1 else frame.name


def _array(dims: list[str], values: Tensor) -> xr.DataArray:
    if "draw" in dims:
        dims, values = ["chain", *dims], values[None]
    return xr.DataArray(values.cpu().numpy(), dims=dims)
