"""netCDF files of arviz containers: the same file under arviz 0.x and 1.x."""

from __future__ import annotations

import io
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import xarray as xr

from pyro_vae.diagnostics._container import Container, from_tree, to_tree

# Named, so that a file does not depend on which netCDF libraries happen to be installed.
_ENGINE: Final = "h5netcdf"


def save(data: Container, path: str | os.PathLike[str]) -> Path:
    """Write an arviz container to a netCDF file, atomically.

    The file is written beside its destination and then renamed over it: a reader sees the old
    file or the new one, and an interrupted save leaves the old one as it was. A file written
    under arviz 0.x is read under arviz 1.x and the other way round.

    Args:
        data: what :func:`~pyro_vae.diagnostics.to_arviz` returned, or any other container of the
            installed arviz.
        path: the file, ``.nc`` by custom; an existing one is replaced.

    Returns:
        The path written.

    Raises:
        TypeError: ``data`` is not the installed arviz's container.
        FileNotFoundError: the folder of ``path`` does not exist.
        OSError: it cannot be written there, e.g. a full disk; an existing file is intact.

    Example:
        >>> import pyro, pyro.distributions as dist, tempfile, torch
        >>> from pyro_vae.diagnostics import load, save, to_arviz
        >>> def guide(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         return pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> def model(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        ...         return pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save(to_arviz(model, guide, torch.zeros(3), 5), f"{folder}/draws.nc")
        ...     load(path).posterior["z"].shape
        (1, 5, 3)
    """
    path = Path(path)
    tree = to_tree(data)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"save: expected an existing folder; got {str(path.parent)!r}; create it first."
        )
    # In memory first: on a full disk the HDF5 library would fail beyond what Python can catch.
    content = io.BytesIO()
    tree.to_netcdf(content, engine=_ENGINE)
    # A folder of its own inside the destination's: the same file system, so the rename is atomic,
    # and whatever a failed write leaves behind goes with it.
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        unfinished = Path(folder) / path.name
        unfinished.write_bytes(content.getbuffer())
        os.replace(unfinished, path)
    return path


def load(path: str | os.PathLike[str]) -> Container:
    """Read a netCDF file into the installed arviz's container.

    Everything is read into memory and the file is closed, so it may be moved or overwritten
    while its contents are in use.

    Args:
        path: a file :func:`save` or arviz itself wrote.

    Returns:
        ``InferenceData`` under arviz 0.x, xarray's ``DataTree`` under arviz 1.x.

    Raises:
        FileNotFoundError: there is no such file.

    Example:
        See :func:`save`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load: expected a netCDF file; got {str(path)!r}, which is none.")
    with xr.open_datatree(path, engine=_ENGINE) as tree:
        return from_tree(tree.load())
