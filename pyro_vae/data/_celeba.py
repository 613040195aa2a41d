"""CelebA from its photographs, made small once and kept as one array of bytes on the disk."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from pyro_vae.data._errors import located, mismatch
from pyro_vae.data._files import cache_folder, find, folders_of, not_found, written_whole
from pyro_vae.data.dataset import Dataset, divided
from pyro_vae.data.examples import Examples

PARTITION, ATTRIBUTES = "list_eval_partition.txt", "list_attr_celeba.txt"
PHOTOGRAPHS = "img_align_celeba"
WIDTH, HEIGHT = 178, 218
TRAIN, VALIDATION, TEST = 0, 1, 2
_AGAIN = "The file is damaged or another: copy or download it again."

Photographs = UInt8[np.ndarray, "photographs 3 size size"]


def celeba(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    size: int = 64,
    crop: int = 148,
    attribute: str | None = None,
    validation: bool = False,
) -> Dataset:
    """202,599 photographs of faces in colour, cropped and made smaller.

    Values are bytes `[N, 3, size, size]`, red, green and blue, which `batch` gives as float32 in
    [0, 1]; they lie in a file that is mapped into memory. Training and test images are those of the
    published partition: 162,770 and 19,962; 19,867 more are for validation.

    The folder that holds `list_eval_partition.txt`, and `img_align_celeba/` with the photographs
    beside it, is looked for in `$PYRO_VAE_DATA` and then in the user's cache,
    `$XDG_CACHE_HOME/pyro_vae` or `~/.cache/pyro_vae`, each time in the folder itself and in
    `celeba/` below it. It is not downloaded: its licence asks for agreement, and allows research
    alone.

    At the first call all photographs are read, which takes minutes, and the small images are kept
    in the user's cache (N · 3 · size² bytes, 2.5 GB by default), under a name made of `size`,
    `crop`, the folder and the list of photographs: other ones make another file. The photographs
    are not read again. One that was changed in place is not noticed: remove the file.

    Each photograph, 218 rows × 178 columns, is cropped to the `crop` × `crop` pixels of its centre
    and resized by a linear filter as wide as what a new pixel covers (Pillow's antialiased
    `BILINEAR`). The default 148 is the side of Larsen et al., 2016, Autoencoding beyond pixels,
    whose own square lies 5 rows lower (NVAE has that one); centred, it is that of Subramanian,
    2020, PyTorch-VAE. Numbers under other crops or filters are not comparable.

    Source: Liu, Luo, Wang and Tang, 2015, Deep Learning Face Attributes in the Wild.

    Args:
        data_dir: look in this folder (and its `celeba/`) alone.
        size: rows and columns of the result.
        crop: rows and columns of the centre that is kept, in pixels of the photograph.
        attribute: one of the 40 of `list_attr_celeba.txt`, such as "Smiling"; it makes the labels,
            1 where the face has it, else 0. Without it there are no labels.
        validation: hold out the validation images in place of the test images.

    Raises:
        FileNotFoundError: when the folder or a list is nowhere; it names the places looked in.
        ValueError: unless 1 ≤ size ≤ crop ≤ 178.
        DataError: when a photograph is missing, broken or of another size, when a line of a list
            cannot be read, or when there is no such attribute; it names the file and the line.
        OSError: when the disk is full; what was written is removed.

    >>> from pyro_vae.data import celeba
    >>> celeba(attribute="Smiling")  # doctest: +SKIP
    Dataset('celeba', 162770 train + 19962 test of shape (3, 64, 64), Grey(), cpu)
    """
    _check_sizes(size, crop)
    folder = _folder(data_dir)
    held_out = VALIDATION if validation else TEST
    partition = _partition(folder / PARTITION, TRAIN, held_out)
    names = sorted(partition, key=partition.__getitem__)
    labels = None if attribute is None else _labels(folder / ATTRIBUTES, attribute, names)
    values = torch.from_numpy(_values(folder, names, size, crop))
    rows = _rows(partition)
    return divided("celeba", Examples(values, labels), rows[TRAIN], rows[held_out])


def _check_sizes(size: int, crop: int) -> None:
    if not 1 <= size <= crop <= WIDTH:
        raise ValueError(
            f"celeba: expected 1 ≤ size ≤ crop ≤ {WIDTH}; got size={size} and crop={crop}. "
            f"The photographs have {HEIGHT} rows and {WIDTH} columns, and are not enlarged."
        )


def _folder(data_dir: str | os.PathLike[str] | None) -> Path:
    folders = folders_of("celeba", data_dir)
    path = find(folders, PARTITION)
    if path is None:
        raise not_found(
            f"CelebA: expected {PARTITION}",
            folders,
            f"Get it, {ATTRIBUTES} and {PHOTOGRAPHS}.zip from "
            "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, extract the photographs beside the "
            "lists, and set PYRO_VAE_DATA to that folder, or pass it as data_dir= (--data-dir).",
        )
    return path.parent


# --- the partition ------------------------------------------------------------------------------


def _partition(path: Path, *needed: int) -> dict[str, int]:
    """The photographs' names with their partitions, in the order of the file."""
    partition: dict[str, int] = {}
    for place, line in _lines(path):
        with located(place):
            name, number = _partition_of(line)
            if name in partition:
                raise mismatch("a name once", f"{name} again", _AGAIN)
            partition[name] = number
    for number in needed:
        if number not in partition.values():
            with located(path):
                raise mismatch(f"photographs of partition {number}", "none", _AGAIN)
    return partition


def _partition_of(line: str) -> tuple[str, int]:
    words = line.split()
    if len(words) != 2 or words[1] not in ("0", "1", "2"):
        raise mismatch("a name and 0, 1 or 2, such as 000001.jpg 0", _shown(line), _AGAIN)
    return words[0], int(words[1])


def _rows(partition: dict[str, int]) -> list[slice]:
    """Where each partition lies once the photographs are sorted by it."""
    counts = Counter(partition.values())
    ends = accumulate((counts[number] for number in (TRAIN, VALIDATION, TEST)), initial=0)
    return [slice(start, end) for start, end in pairwise(ends)]


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text file, each with its place."""
    text = path.read_text(encoding="utf-8", errors="replace").rstrip()
    for number, line in enumerate(text.splitlines(), start=1):
        yield f"{path}, line {number}", line


def _shown(line: str) -> str:
    """A line as errors show it, cut, as a foreign file may be one line."""
    return repr(line if len(line) <= 60 else line[:60] + "…")


# --- the attributes -----------------------------------------------------------------------------


def _labels(path: Path, attribute: str, names: list[str]) -> Tensor:
    """int64 `[N]`: 1 where the photograph has the attribute, else 0."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the list of attributes, for attribute={attribute!r}; got no such "
            f"file. Put it beside {PARTITION}, or leave out attribute=."
        )
    lines = list(_lines(path))
    with located(path):
        attributes = _attributes(lines)
        column = _column(attribute, attributes)
    labels: dict[str, int] = {}
    for place, line in lines[2:]:
        with located(place):
            name, values = _attributes_of(line, len(attributes))
            labels[name] = int(values[column] == "1")
    with located(path):
        _check_all_have(labels, names)
    return torch.tensor([labels[name] for name in names])


def _attributes(lines: list[tuple[str, str]]) -> list[str]:
    """The attributes' names, in the second line; the first has the number of those after it."""
    first = lines[0][1] if lines else ""
    if len(lines) < 2 or first.strip() != str(len(lines) - 2):
        raise mismatch(
            "the number of photographs in line 1, names in line 2, and that many lines more",
            f"{_shown(first)} in line 1 of {len(lines)}",
            _AGAIN,
        )
    return lines[1][1].split()


def _column(attribute: str, attributes: list[str]) -> int:
    if attribute not in attributes:
        raise mismatch(
            f"an attribute among {', '.join(attributes)}", attribute, "Correct attribute=."
        )
    return attributes.index(attribute)


def _attributes_of(line: str, count: int) -> tuple[str, list[str]]:
    name, *values = line.split() or [""]
    if len(values) != count or not set(values) <= {"1", "-1"}:
        raise mismatch(f"a name and {count} times 1 or -1", _shown(line), _AGAIN)
    return name, values


def _check_all_have(labels: dict[str, int], names: list[str]) -> None:
    missing = next((name for name in names if name not in labels), None)
    if missing is not None:
        raise mismatch(f"a line for {missing}, which {PARTITION} names", "none", _AGAIN)


# --- the photographs ----------------------------------------------------------------------------


def _values(folder: Path, names: list[str], size: int, crop: int) -> Photographs:
    """All photographs, mapped from the cache; prepared when they are not there yet."""
    path = _cached(folder, names, size, crop)
    if not path.is_file():
        _prepare(path, folder / PHOTOGRAPHS, names, size, crop)
    with located(path):
        return _mapped(path, (len(names), 3, size, size))


def _cached(folder: Path, names: list[str], size: int, crop: int) -> Path:
    """Where they are kept: the name tells what they are made of, and in which order."""
    made_of = hashlib.sha256("\n".join([str(folder.resolve()), *names]).encode())
    name = f"{size}-of-{crop}-{made_of.hexdigest()[:16]}.npy"
    return cache_folder() / "celeba" / name


def _prepare(path: Path, folder: Path, names: list[str], size: int, crop: int) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: expected the folder of the photographs; got none. "
            f"Extract {PHOTOGRAPHS}.zip beside {PARTITION}."
        )
    shape = (len(names), 3, size, size)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    # Written, not mapped: a full disk is an error then, and would otherwise kill the process.
    with written_whole(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for name in tqdm(names, desc=f"CelebA {size}×{size}", unit=" photographs"):
            with located(folder / name):
                file.write(_small(folder / name, size, crop).tobytes())


def _small(path: Path, size: int, crop: int) -> UInt8[np.ndarray, "3 size size"]:
    """One photograph, cropped and resized."""
    try:
        with Image.open(path, formats=["JPEG"]) as photograph:
            _check_photograph(photograph)
            left, upper = (WIDTH - crop) // 2, (HEIGHT - crop) // 2
            square = photograph.crop((left, upper, left + crop, upper + crop))
    except FileNotFoundError as error:
        raise mismatch(
            f"a photograph, as {PARTITION} names it", "no such file", f"Extract {PHOTOGRAPHS}.zip."
        ) from error
    except (OSError, Image.DecompressionBombError) as error:
        raise mismatch("a whole JPEG file", error, _AGAIN) from error
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def _check_photograph(photograph: Image.Image) -> None:
    got = (photograph.mode, photograph.size)
    if got != ("RGB", (WIDTH, HEIGHT)):
        raise mismatch(
            f"a photograph in RGB of {WIDTH}×{HEIGHT}",
            "one in {} of {}×{}".format(got[0], *got[1]),
            f"Take those of {PHOTOGRAPHS}.zip, which are aligned.",
        )


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array in the file, read where it is used; what is written to it stays in memory."""
    try:
        # Not "r": torch takes no array that is read-only.
        values = np.lib.format.open_memmap(path, mode="c")
    except (ValueError, OSError) as error:
        raise _damaged(shape, error) from error
    if (values.dtype, values.shape) != (np.dtype(np.uint8), shape):
        raise _damaged(shape, f"{values.dtype} {list(values.shape)}")
    return values


def _damaged(shape: tuple[int, ...], got: object) -> Exception:
    return mismatch(f"a whole array uint8 {list(shape)}", got, "Remove it: it is made again.")
