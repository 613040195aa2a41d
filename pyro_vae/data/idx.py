"""IDX, the file format of MNIST and of its relatives.

A header of two zero bytes, a byte for the type and a byte for the number of dimensions; the sizes
as big-endian 32-bit integers; then the values, big-endian, last dimension fastest. Source: LeCun,
Cortes and Burges, 1998, The MNIST database of handwritten digits.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from pyro_vae.data._errors import located, mismatch

_DTYPES: dict[int, np.dtype] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP_MAGIC = b"\x1f\x8b"
_COPY_AGAIN = "The file is damaged or cut short: copy or download it again."


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, plain or gzipped, in the byte order of this machine.

    Gzip is told by the content, not by the name. All six IDX types are read: uint8, int8, int16,
    int32, float32 and float64.

    Raises:
        FileNotFoundError: when there is no such file.
        DataError: when the file is not IDX, is cut short, goes on after the values, or is a damaged
            gzip.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from pyro_vae.data import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "tiny-idx2-ubyte"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     read_idx(path)
    array([[7, 8, 9]], dtype=uint8)
    """
    with located(path):
        return parse_idx(read_content(Path(path)))


def read_content(path: Path) -> bytes:
    """The bytes of a file, decompressed when they are gzip."""
    raw = path.read_bytes()
    if not raw.startswith(_GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise mismatch("a whole gzip file", f"a damaged one ({error})", _COPY_AGAIN) from error


def parse_idx(content: bytes) -> np.ndarray:
    """The array in the bytes of an IDX file."""
    dtype, shape = _header(content)
    start = 4 + 4 * len(shape)
    expected = start + dtype.itemsize * math.prod(shape)
    if len(content) < expected:
        raise mismatch(f"{expected} bytes for shape {shape}", f"only {len(content)}", _COPY_AGAIN)
    if len(content) > expected:
        raise mismatch(
            f"{expected} bytes for shape {shape}",
            f"{len(content) - expected} trailing bytes",
            "The file is damaged or not IDX: copy or download it again.",
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _header(content: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        raise mismatch(
            "an IDX file, with a magic number such as 00 00 08 03",
            f"a file that starts with {magic.hex(' ')}" if magic else "an empty file",
            "Give an IDX file, plain or gzipped.",
        )
    sizes = content[4 : 4 + 4 * magic[3]]
    if len(sizes) < 4 * magic[3]:
        raise mismatch(f"a header of {magic[3]} sizes", f"only {len(sizes)} bytes", _COPY_AGAIN)
    return _DTYPES[magic[2]], tuple(np.frombuffer(sizes, ">u4").tolist())
