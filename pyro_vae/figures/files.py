"""Figures on disk."""

from __future__ import annotations

import io
import os
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 200) -> Path:
    """Write `figure` as a PNG with a tight box, whole or not at all; the folder is made if absent.

    The file appears under its name only once it is complete, so a reader never meets half of it.

    Raises:
        ValueError: a path that does not end in .png.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(Figure(figsize=(1, 1)), f"{folder}/figures/empty.png")
    ...     path.read_bytes()[:4]
    b'\\x89PNG'
    """
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"save: path: expected a name ending in .png; got {path.name!r}. Add it.")
    picture = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(picture, format="png", dpi=dpi, bbox_inches="tight")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(picture.getvalue())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
