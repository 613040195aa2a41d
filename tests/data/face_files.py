"""Faces in the form in which they are distributed, made by the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

# -- the Frey faces --------------------------------------------------------------------------------

FREY_FILE = "frey_rawface.mat"
# An image a column, as in the file; all different, though of few values.
FREY = (np.arange(560)[:, None] // 7 + np.arange(1965)).astype(np.uint8)


def write_frey(folder: Path, **variables: np.ndarray) -> Path:
    """A file of these variables in `folder`, by default one like the published one."""
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / FREY_FILE, variables or {"ff": FREY}, do_compression=True)
    return folder


# -- CelebA ----------------------------------------------------------------------------------------

# Name → partition, colour and whether it smiles. Not in the partitions' order, as it need not be.
FACES = {
    "000001.jpg": (0, (250, 10, 10), 1),
    "000002.jpg": (2, (10, 250, 10), -1),
    "000003.jpg": (0, (10, 10, 250), -1),
    "000004.jpg": (1, (120, 120, 120), 1),
    "000005.jpg": (2, (240, 240, 20), 1),
    "000006.jpg": (0, (20, 240, 240), 1),
}
TRAINING = ["000001.jpg", "000003.jpg", "000006.jpg"]
PARTITION = "".join(f"{name} {part}\n" for name, (part, _, _) in FACES.items())
ATTRIBUTES = f"{len(FACES)}\nMale Smiling Young \n" + "".join(
    f"{name} -1 {smiles:2d}  1\n" for name, (_, _, smiles) in FACES.items()
)


def write_celeba(folder: Path) -> Path:
    """CelebA of six photographs in `folder`, each of one colour."""
    (folder / "img_align_celeba").mkdir(parents=True)
    (folder / "list_eval_partition.txt").write_text(PARTITION)
    (folder / "list_attr_celeba.txt").write_text(ATTRIBUTES)
    for name, (_, colour, _) in FACES.items():
        save(folder, name, np.full((218, 178, 3), colour, np.uint8))
    return folder


def save(folder: Path, name: str, pixels: np.ndarray, format: str = "JPEG") -> np.ndarray:
    """Save a photograph; the pixels as they are read again, uint8 [rows, columns, 3]."""
    path = folder / "img_align_celeba" / name
    Image.fromarray(pixels).save(path, format, quality=95, subsampling=0)
    with Image.open(path) as photograph:
        return np.asarray(photograph)
