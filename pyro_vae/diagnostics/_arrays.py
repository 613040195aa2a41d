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

LATENT = "latent"
"""The name of the dim that a vector of latents has."""

Groups = Mapping[str, Mapping[str, xr.DataArray]]
"""The arrays of each group by their names."""


def site_array(
    name: str, site: Mapping[str, Any], dims: Mapping[str, Sequence[str]] | None = None
) -> xr.DataArray:
    """A site's value with a named dim for each of its plates, then for each event dim.

    Event dims have the names that ``dims`` has for the site, else :func:`numbered`.
    """
    fn = site["fn"]
    plates = {frame.dim: _dim_name(frame) for frame in site["cond_indep_stack"]}
    # Batch dims that belong to no plate are there to align the others, and of size 1.
    batch = {plates[d]: fn.batch_shape[d] for d in range(-len(fn.batch_shape), 0) if d in plates}
    event = (dims or {}).get(name, numbered(name, len(fn.event_shape)))
    values = site["value"].expand(fn.shape()).reshape([*batch.values(), *fn.event_shape])
    return _array([*batch, *event], values)


def numbered(name: str, count: int) -> list[str]:
    """Names of a site's event dims, for want of better ones."""
    return [f"{name}_dim_{i}" for i in range(count)]


def latent_dim(latents: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """``latent`` for the event dim of the one latent site that has any, where it has one."""
    vectors = {name: site for name, site in latents.items() if site["fn"].event_shape}
    plates = {frame.name for site in latents.values() for frame in site["cond_indep_stack"]}
    if len(vectors) != 1 or LATENT in plates:
        return {}
    return {name: [LATENT] for name, site in vectors.items() if len(site["fn"].event_shape) == 1}


def per_datum(values: Tensor) -> xr.DataArray:
    """Numbers per draw and datum, [draw, datum]."""
    return _array(["draw", "datum"], values)


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


def _dim_name(frame: Any) -> str:
    if frame.name == DRAW_PLATE:
        return "draw"
    return "datum" if frame.dim == -1 else frame.name


def _array(dims: list[str], values: Tensor) -> xr.DataArray:
    if "draw" in dims:
        dims, values = ["chain", *dims], values[None]
    return xr.DataArray(values.cpu().numpy(), dims=dims)
