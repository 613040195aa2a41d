"""A person's own arrays as a data set."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data._errors import DataError, located, mismatch
from pyro_vae.data.binarisation import GREY, Binarisation
from pyro_vae.data.dataset import Dataset, check_fraction, divided, shuffled
from pyro_vae.data.examples import Examples

_SAVE = "Save the numbers with numpy.save or numpy.savez."
_SPLIT = ("x_train", "x_test", "y_train", "y_test")
_WHOLE = ("x", "y")
_MAGICS = (b"\x93NUMPY", b"PK")
_BROKEN = (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error)

Array = np.ndarray | Tensor
Part = tuple[Tensor, Tensor | None]  # values and labels


def arrays(
    source: str | os.PathLike[str] | Array,
    *,
    labels: Array | None = None,
    test_fraction: float = 0.1,
    binarisation: Binarisation = GREY,
    seed: int = 0,
    image_shape: tuple[int, int] | None = None,
) -> Dataset:
    """Your own examples: a `.npy` or `.npz` file, an array or a tensor, `[N, *event]`.

    A `.npz` file holds `x_train` and `x_test` (perhaps `y_train` and `y_test`), or one array of any
    name or `x` (perhaps `y`). Examples that are not split yet are shuffled by `seed`, and the last
    `test_fraction` of them is held out.

    Values become float32. Bytes (uint8) are divided by 255; all else — bool, other integers, floats
    — stays as it is. Images `[N, H, W]` or `[N, H, W, 1]` become `[N, H·W]` with the image shape
    recorded; any other event shape is kept.

    Args:
        source: the path, array or tensor; a tensor's device is kept.
        labels: integers `[N]`, for a source that has none itself and is not split.
        test_fraction: the part held out, in (0, 1); at least one example.
        binarisation: how grey values become zeros and ones.
        seed: of the split; it does not depend on torch's random state.
        image_shape: rows and columns, for images that are stored flat.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when `test_fraction` is outside (0, 1).
        DataError: when the content is not as above: cut short, foreign, of Python objects, complex,
            NaN, empty, off the support of the binarisation, or of shapes or labels that do not fit.

    >>> import numpy as np
    >>> from pyro_vae.data import arrays
    >>> bytes_of_images = np.random.default_rng(0).integers(0, 256, (100, 5, 4), dtype=np.uint8)
    >>> arrays(bytes_of_images)
    Dataset('array', 90 train + 10 test of shape (20,), images 5×4, Grey(), cpu)
    """
    check_fraction(test_fraction)
    path = _path(source)
    with located(path):
        parts = _parts(_with_labels(_content(source), labels))
        values, image_shape = _flat_images(_all_values(parts), image_shape)
        whole = Examples(values, _all_labels(parts), binarisation)
        train, test = _split([len(x) for x, _ in parts], test_fraction, seed)
        return divided(path.stem, whole, train, test, image_shape)


def _path(source: str | os.PathLike[str] | Array) -> Path:
    """What errors and the data set's name call the source."""
    return Path("array" if isinstance(source, (np.ndarray, Tensor)) else source)


def _content(source: str | os.PathLike[str] | Array) -> dict[str, Array]:
    return {"x": source} if isinstance(source, (np.ndarray, Tensor)) else _load(Path(source))


def _load(path: Path) -> dict[str, Array]:
    """The arrays of a file by their roles: `x`, `y`, or those with `_train` and `_test`."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a .npy or .npz file; got no such file. Check the path."
        )
    try:
        # Opened here, as numpy leaves a damaged .npz file open.
        with path.open("rb") as file:
            _check_magic(file)
            # Pickles can run code: a data file holds numbers alone.
            content = np.load(file, allow_pickle=False)
            return {"x": content} if isinstance(content, np.ndarray) else _members(content)
    except DataError:
        raise
    except _BROKEN as error:
        raise mismatch("a whole .npy or .npz file of numbers", error, _SAVE) from error


def _check_magic(file: BinaryIO) -> None:
    start = file.read(6)
    file.seek(0)
    if not start.startswith(_MAGICS):
        got = f"a file that starts with {start!r}" if start else "an empty file"
        raise mismatch("a .npy or .npz file", got, _SAVE)


def _members(content: np.lib.npyio.NpzFile) -> dict[str, Array]:
    return {role: content[name] for role, name in _roles(list(content)).items()}


def _roles(names: list[str]) -> dict[str, str]:
    """Role → name in the file; other arrays in the file are left alone."""
    if {"x_train", "x_test"} <= set(names):
        return {role: role for role in _SPLIT if role in names}
    if "x" in names:
        return {role: role for role in _WHOLE if role in names}
    if len(names) == 1:
        return {"x": names[0]}
    raise mismatch(
        "one array, or arrays named x (and y), or x_train and x_test (and y_train and y_test)",
        f"arrays named {', '.join(names) or '(none)'}",
        "Rename them with numpy.savez(path, x=...).",
    )


def _with_labels(content: dict[str, Array], labels: Array | None) -> dict[str, Array]:
    if labels is None:
        return content
    if set(content) != {"x"}:
        raise mismatch(
            "labels= only with a source that has no labels and no split",
            f"arrays {', '.join(content)}",
            "Leave out labels=, or put the labels into the file.",
        )
    return content | {"y": labels}


def _parts(content: Mapping[str, Array]) -> list[Part]:
    """One part, or the training and the test part."""
    ends = ("_train", "_test") if "x_train" in content else ("",)
    return [_part(content["x" + end], content.get("y" + end)) for end in ends]


def _part(x: Array, y: Array | None) -> Part:
    values = _values(x)
    labels = None if y is None else _labels(y).to(values.device)
    if labels is not None and labels.shape != values.shape[:1]:
        raise mismatch(
            f"labels of shape {[len(values)]}, one for each example",
            f"shape {list(labels.shape)}",
            "Pass the labels of these examples, or leave them out.",
        )
    return values, labels


def _values(array: Array) -> Tensor:
    """float32 `[N, *event]`."""
    tensor = array.detach() if isinstance(array, Tensor) else _from_numpy(array)
    if tensor.is_complex():
        raise mismatch("real numbers", tensor.dtype, "Stack the real and the imaginary parts.")
    if tensor.ndim == 0:
        raise mismatch("values of shape [N, *event]", "a single number", _SAVE)
    scale = 255 if tensor.dtype == torch.uint8 else 1
    return tensor.to(torch.float32) / scale


def _from_numpy(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "buifc":
        raise mismatch("an array of numbers", f"dtype {array.dtype}", _SAVE)
    if array.dtype.kind == "c" or array.dtype == np.uint8:
        # A copy, as torch takes neither a read-only array nor the other byte order.
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
    # What is too large for float32 becomes infinity, and `Examples` reports that.
    with np.errstate(over="ignore"):
        return torch.from_numpy(array.astype(np.float32, order="C"))


def _labels(labels: Array) -> Tensor:
    """int64, in the shape as given."""
    array = labels.numpy(force=True) if isinstance(labels, Tensor) else np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise mismatch("integer labels", f"dtype {array.dtype}", "Number the classes from 0.")
    return torch.from_numpy(array.astype(np.int64))


def _all_values(parts: list[Part]) -> Tensor:
    shapes = [tuple(x.shape[1:]) for x, _ in parts]
    if len(set(shapes)) > 1:
        raise mismatch(
            f"x_test with examples of shape {shapes[0]}, as in x_train",
            shapes[1],
            "Preprocess both in the same way.",
        )
    return torch.cat([x for x, _ in parts])


def _all_labels(parts: list[Part]) -> Tensor | None:
    labels = [y for _, y in parts if y is not None]
    if len(labels) not in (0, len(parts)):
        raise mismatch("both y_train and y_test, or neither", "one of them", "Add the other.")
    return torch.cat(labels) if labels else None


def _flat_images(
    values: Tensor, image_shape: tuple[int, int] | None
) -> tuple[Tensor, tuple[int, int] | None]:
    """Images `[N, H, W]` or `[N, H, W, 1]` as `[N, H·W]`, and their shape; others as they are."""
    if not (values.ndim == 3 or (values.ndim == 4 and values.shape[-1] == 1)):
        return values, image_shape
    rows, columns = values.shape[1:3]
    if image_shape not in (None, (rows, columns)):
        raise mismatch(f"images of shape {image_shape}", (rows, columns), "Leave out image_shape.")
    return values.flatten(start_dim=1), (rows, columns)


def _split(
    sizes: list[int], test_fraction: float, seed: int
) -> tuple[Tensor, Tensor] | tuple[slice, slice]:
    """The rows to train on and to hold out: the two parts as given, or a shuffle of the one."""
    if len(sizes) == 1:
        return shuffled(sizes[0], test_fraction, seed)
    return slice(0, sizes[0]), slice(sizes[0], None)
