from __future__ import annotations

import contextlib
import io
import os
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from pyro_vae._errors import CheckpointError

__all__ = ["Checkpoints"]

_KEEP = 2


class Checkpoints:
    """A folder of checkpoints: written atomically, verified when read, the last two kept.

    A file ``step-000001200.pt`` is what ``torch.save`` makes — a zip archive with a checksum for
    every entry — and appears under its name only when it is whole and on the disk. A power cut, a
    ``SIGKILL`` or a full disk while one is written leaves the one before as it was.

    Args:
        folder: made when the first checkpoint is saved.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def paths(self) -> list[Path]:
        """The checkpoints there, oldest first."""
        return sorted(self.folder.glob("step-*.pt"))

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write ``state`` (tensors, numbers, strings, lists, dicts) as the checkpoint of a step.

        Raises:
            CheckpointError: where it cannot be written, e.g. a full disk; the checkpoints that
                were there are intact.
        """
        path = self.folder / f"step-{step:09d}.pt"
        partial = path.with_suffix(".partial")
        content = io.BytesIO()  # torch would not say why a write into a file failed
        torch.save(state, content)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(partial, "wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise CheckpointError(
                f"{path}: expected to write a checkpoint; got {error}. The checkpoints before it "
                "are intact: make room, then call again to go on from the last one."
            ) from error
        for old in [*self.paths()[:-_KEEP], *self.folder.glob("step-*.partial")]:
            old.unlink(missing_ok=True)
        return path

    def load(
        self, map_location: torch.device | str = "cpu", keys: Collection[str] = ()
    ) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole; ``None`` where there is none at all.

        A damaged one, or a file without the ``keys`` a state must have, is refused with a warning
        that names it, and the one before is taken.

        Raises:
            CheckpointError: there are checkpoints and all are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                _verify(path)
                state = torch.load(path, map_location=map_location, weights_only=True)
                if missing := [key for key in keys if key not in state]:
                    raise KeyError(f"nothing under {', '.join(missing)}")
                return state
            except Exception as error:  # whatever a damaged file makes of a reader
                warnings.warn(
                    f"{path}: expected a whole checkpoint; got a damaged one ({error}). It is "
                    "not used; the one before it is, if there is one.",
                    stacklevel=2,
                )
        if paths:
            raise CheckpointError(
                f"{self.folder}: expected a whole checkpoint; got {len(paths)} damaged. Delete "
                "the folder to start anew."
            )
        return None


def _verify(path: Path) -> None:
    """Compare every entry of the archive with its checksum."""
    with zipfile.ZipFile(path) as archive:
        if (entry := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"bad checksum of {entry}")
