"""Files from the network, each fetched once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from tqdm import tqdm

from pyro_vae.data._files import written_whole

TIMEOUT = 60.0  # seconds without a byte before giving up


def fetch(url: str, path: Path, check: Callable[[Path], object]) -> None:
    """Fetch `url` to `path`, which appears at once and whole, or not at all.

    The file is a temporary one beside `path` until `check` of it has raised nothing.

    Raises:
        OSError: when the network or the disk fails.
    """
    with written_whole(path) as partial:
        _copy(url, partial)
        check(partial)


def _copy(url: str, path: Path) -> None:
    """Copy `url` to `path` with a progress bar."""
    with urlopen(url, timeout=TIMEOUT) as response, path.open("wb") as file:
        length = response.headers.get("Content-Length")
        size = int(length) if length else None
        name = url.rsplit("/", 1)[-1]
        with tqdm.wrapattr(file, "write", total=size, desc=name) as counted:
            shutil.copyfileobj(response, counted)
    # A connection that closes early looks like the end of the file.
    got = path.stat().st_size
    if size is not None and got != size:
        raise ConnectionError(f"the connection closed after {got} of {size} bytes")
