"""The Frey faces from their MATLAB file, found on this machine."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from pyro_vae.data._errors import located, mismatch
from pyro_vae.data._files import find, folders_of, not_found
from pyro_vae.data.binarisation import GREY, Binarisation
from pyro_vae.data.dataset import Dataset, check_fraction, divided, shuffled
from pyro_vae.data.examples import Examples

FILE = "frey_rawface.mat"
COUNT, ROWS, COLUMNS = 1965, 28, 20
_ANOTHER_COPY = f"Take another copy of {FILE}."


def frey_faces(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    test_fraction: float = 0.1,
    seed: int = 0,
    binarisation: Binarisation = GREY,
) -> Dataset:
    """1,965 frames of a film of one face, 28 rows × 20 columns of grey.

    Values are float32 `[N, 560]` in [0, 1] (bytes divided by 255), row by row, the face upright;
    there are no labels. The file `frey_rawface.mat` is looked for in `$PYRO_VAE_DATA` and then in
    the user's cache, `$XDG_CACHE_HOME/pyro_vae` or `~/.cache/pyro_vae`, each time in the folder
    itself and in `frey_faces/` below it. It is not downloaded.

    The frames are shuffled by `seed`, and the last `test_fraction` of them is held out. No split is
    published, and frames that follow one another look alike: what is held out has near twins in the
    training part, and other people's numbers are of other splits.

    Source: the film of Brendan Frey's face published by Sam Roweis; used by Kingma and Welling,
    2014, Auto-Encoding Variational Bayes.

    Args:
        data_dir: look in this folder (and its `frey_faces/`) alone.
        test_fraction: the part held out, in (0, 1); at least one frame.
        seed: of the split; it does not depend on torch's random state.
        binarisation: how grey values become zeros and ones.

    Raises:
        FileNotFoundError: when the file is nowhere; it names every place looked in.
        ValueError: when `test_fraction` is outside (0, 1).
        DataError: when the file is damaged or not that of the Frey faces, or when `test_fraction`
            leaves nothing to train on.

    >>> from pyro_vae.data import frey_faces
    >>> frey_faces()  # doctest: +SKIP
    Dataset('frey_faces', 1769 train + 196 test of shape (560,), images 28×20, Grey(), cpu)
    """
    check_fraction(test_fraction)
    path = _path(data_dir)
    with located(path):
        values = torch.from_numpy(_images(path.read_bytes())).to(torch.float32) / 255
        whole = Examples(values, binarisation=binarisation)
        train, test = shuffled(len(whole), test_fraction, seed)
        return divided("frey_faces", whole, train, test, (ROWS, COLUMNS))


def _path(data_dir: str | os.PathLike[str] | None) -> Path:
    folders = folders_of("frey_faces", data_dir)
    path = find(folders, FILE)
    if path is None:
        raise not_found(
            f"Frey faces: expected {FILE}",
            folders,
            "Get it from Sam Roweis's data page, https://cs.nyu.edu/~roweis/data.html, or from a "
            "colleague who has it; then set PYRO_VAE_DATA to the folder that holds it, or pass "
            "that as data_dir= (--data-dir).",
        )
    return path


def _images(content: bytes) -> np.ndarray:
    """uint8 `[1965, 560]` from the bytes of the file, which has an image a column."""
    # Imported here: scipy.io takes a third of a second to import, and only this data set needs it.
    from scipy.io import loadmat

    try:
        variables = loadmat(BytesIO(content), variable_names=["ff"])
    except Exception as error:  # scipy raises what a damaged byte leads it to, ten types at least
        raise mismatch("a whole MATLAB file", f"a damaged one ({error})", _ANOTHER_COPY) from error
    images = variables.get("ff")
    if images is None:
        raise mismatch("a variable ff", "a MATLAB file without it", _ANOTHER_COPY)
    return np.ascontiguousarray(_checked(images).T)


def _checked(images: np.ndarray) -> np.ndarray:
    expected = (np.dtype(np.uint8), (ROWS * COLUMNS, COUNT))
    if (images.dtype, images.shape) != expected:
        raise mismatch(
            "ff to be {} {}".format(*expected),
            f"{images.dtype} {images.shape}",
            _ANOTHER_COPY,
        )
    return images
