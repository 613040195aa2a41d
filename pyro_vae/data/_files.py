"""The files of data sets on this machine: where they are looked for, and none left half written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/pyro_vae`, or `~/.cache/pyro_vae`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "pyro_vae"


def folders_of(name: str, data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Where to look for a data set, in order: each place itself, and the folder `name` below it.

    The places are `data_dir` alone where one is given, else `$PYRO_VAE_DATA` and the cache.
    """
    if data_dir is not None:
        roots = [Path(data_dir).expanduser()]
    else:
        set_by_user = os.environ.get("PYRO_VAE_DATA")
        roots = [Path(set_by_user).expanduser()] if set_by_user else []
        roots.append(cache_folder())
    return [folder for root in roots for folder in (root, root / name)]


def find(folders: list[Path], *names: str) -> Path | None:
    """The first file of one of these names, or None."""
    candidates = (folder / name for folder in folders for name in names)
    return next((path for path in candidates if path.is_file()), None)


def not_found(
    expected: str, folders: list[Path], remedy: str, got: str = "none"
) -> FileNotFoundError:
    """The error of a file that is nowhere, with every place looked in."""
    places = ", ".join(f"{folder}{'' if folder.is_dir() else ' (no folder)'}" for folder in folders)
    return FileNotFoundError(f"{expected} in one of {places}; got {got}. {remedy}")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file to write; `path` appears at once and whole, or not at all.

    The file is one beside `path`, which takes that name when the block ends without an error.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two processes that write the same file apart.
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
