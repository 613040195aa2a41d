"""MNIST from its IDX files, found on this machine or downloaded once."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data._download import fetch
from pyro_vae.data._errors import located, mismatch
from pyro_vae.data._files import cache_folder, find, folders_of, not_found
from pyro_vae.data.binarisation import GREY, Binarisation
from pyro_vae.data.dataset import Dataset, divided
from pyro_vae.data.examples import Examples
from pyro_vae.data.idx import parse_idx, read_content

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"


@dataclass(frozen=True)
class Part:
    """One published file: its name, the shape of its array, the SHA-256 of it decompressed."""

    name: str
    shape: tuple[int, ...]
    sha256: str | None = None

    def parse(self, content: bytes) -> np.ndarray:
        """The uint8 array in the content, checked to be the published one."""
        array = parse_idx(content)
        if array.dtype != np.uint8 or array.shape != self.shape:
            raise mismatch(
                f"uint8 {list(self.shape)} in {self.name}",
                f"{array.dtype} {list(array.shape)}",
                "Remove that copy and fetch it again.",
            )
        self._check_content(content, array)
        return array

    def _check_content(self, content: bytes, array: np.ndarray) -> None:
        if self.sha256 is None:
            _check_classes(array)
        elif (got := hashlib.sha256(content).hexdigest()) != self.sha256:
            raise mismatch(
                f"the published {self.name} with SHA-256 {self.sha256}",
                got,
                "Remove that copy and fetch it again.",
            )


TRAIN_IMAGES = Part(
    "train-images-idx3-ubyte",
    (60_000, 28, 28),
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
)
TRAIN_LABELS = Part("train-labels-idx1-ubyte", (60_000,))
TEST_IMAGES = Part(
    "t10k-images-idx3-ubyte",
    (10_000, 28, 28),
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
)
TEST_LABELS = Part("t10k-labels-idx1-ubyte", (10_000,))


def mnist(
    data_dir: str | os.PathLike[str] | None = None,
    binarisation: Binarisation = GREY,
    download: bool = True,
) -> Dataset:
    """60,000 training and 10,000 test images of handwritten digits, 28×28 pixels.

    Values are float32 `[N, 784]` in [0, 1] (bytes divided by 255); labels are 0–9. The four IDX
    files (`train-images-idx3-ubyte`, …; plain or `.gz`) are looked for in `$PYRO_VAE_DATA` and then
    in the user's cache, `$XDG_CACHE_HOME/pyro_vae` or `~/.cache/pyro_vae`, each time in the folder
    itself and in `mnist/` below it. What is in neither is downloaded into the cache, once. Images
    are checked against their SHA-256 at each load.

    Source: LeCun, Bottou, Bengio and Haffner, 1998, Gradient-based learning applied to document
    recognition.

    Args:
        data_dir: look in this folder (and its `mnist/`) alone, and download nothing.
        binarisation: how grey values become zeros and ones.
        download: False to use only what is on this machine.

    Raises:
        FileNotFoundError: when a file is nowhere and cannot be downloaded; it names every place
            looked in.
        DataError: when a file is damaged or not the published one.

    >>> from pyro_vae.data import Dynamic, mnist
    >>> mnist(binarisation=Dynamic())  # doctest: +SKIP
    Dataset('mnist', 60000 train + 10000 test of shape (784,), images 28×28, Dynamic(), cpu)
    """
    folders = folders_of("mnist", data_dir)
    allowed = download and data_dir is None
    images = _joined(TRAIN_IMAGES, TEST_IMAGES, folders, allowed)
    labels = _joined(TRAIN_LABELS, TEST_LABELS, folders, allowed)
    values = images.flatten(start_dim=1).to(torch.float32) / 255
    whole = Examples(values, labels.to(torch.int64), binarisation)
    split = TRAIN_IMAGES.shape[0]
    return divided("mnist", whole, slice(0, split), slice(split, None), (28, 28))


def _joined(train: Part, test: Part, folders: list[Path], allowed: bool) -> Tensor:
    """The training array followed by the test array, uint8."""
    both = [_read(part, folders, allowed) for part in (train, test)]
    return torch.from_numpy(np.concatenate(both))


def _read(part: Part, folders: list[Path], allowed: bool) -> np.ndarray:
    path = find(folders, part.name, f"{part.name}.gz") or _fetched(part, folders, allowed)
    with located(path):
        return part.parse(read_content(path))


def _fetched(part: Part, folders: list[Path], allowed: bool) -> Path:
    """The path of the file in the cache, once it is downloaded and checked."""
    if not allowed:
        raise _not_found(part, folders, "none")
    url, path = f"{MIRROR}{part.name}.gz", cache_folder() / "mnist" / f"{part.name}.gz"
    try:
        with located(url):
            fetch(url, path, lambda partial: part.parse(read_content(partial)))
    except (OSError, HTTPException) as error:
        reason = f"none, and the download of {url} failed ({error})"
        raise _not_found(part, folders, reason) from error
    return path


def _not_found(part: Part, folders: list[Path], got: str) -> FileNotFoundError:
    return not_found(
        f"MNIST: expected {part.name} or {part.name}.gz",
        folders,
        "Set PYRO_VAE_DATA to the folder that holds the files, pass it as data_dir= (--data-dir), "
        "or connect to the network and leave data_dir out to have them downloaded.",
        got,
    )


def _check_classes(labels: np.ndarray) -> None:
    if labels.max() > 9:
        raise mismatch("labels from 0 to 9", labels.max(), "Remove that copy and fetch it again.")
