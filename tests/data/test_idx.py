"""IDX files: what is written comes back, and damage is told from other files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from pyro_vae.data import DataError, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    """The array as the bytes of an IDX file."""
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(7,), (3, 2), (2, 3, 4), (2, 1, 2, 2), (0, 5)])
def test_round_trip(tmp_path: Path, shape: tuple[int, ...], dtype: str, packed: bool) -> None:
    array = np.random.default_rng(0).normal(0, 40, shape).astype("i1").astype(dtype)
    path = tmp_path / "any-name"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    read = read_idx(path)
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    assert read.flags.writeable
    np.testing.assert_array_equal(read, array)


def test_values_are_big_endian(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(bytes([0, 0, 0x0B, 1, 0, 0, 0, 1, 0x01, 0x02]))
    assert read_idx(str(path)).tolist() == [0x0102]


WHOLE = idx(np.arange(6, dtype="u1").reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file.*got an empty file"),
        (b"\0\0\x08", "expected an IDX file.*starts with 00 00 08"),
        (b"\x89PNG....", "expected an IDX file.*starts with 89 50 4e 47"),
        (b"\0\0\x0a\1\0\0\0\1\0", "expected an IDX file.*00 00 0a 01"),
        (b"\0\0\x08\0\1", "expected an IDX file.*00 00 08 00"),
        (b"\0\0\x08\2\0\0\0\2\0", "expected a header of 2 sizes; got only 5 bytes.*again"),
        (WHOLE[:-1], r"expected 18 bytes for shape \(2, 3\); got only 17.*again"),
        (WHOLE + b"..", r"expected 18 bytes for shape \(2, 3\); got 2 trailing bytes"),
        (gzip.compress(WHOLE, mtime=0)[:-9], "expected a whole gzip file; got a damaged one"),
        (gzip.compress(WHOLE, mtime=0)[:5], "expected a whole gzip file; got a damaged one"),
        (gzip.compress(WHOLE, mtime=0)[:10] + b"\xff" * 20, "expected a whole gzip file"),
        (gzip.compress(WHOLE[:-1], mtime=0), ".*got only 17"),
    ],
)
def test_what_is_not_a_whole_idx_file_is_an_error(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"damaged: {message}"):
        read_idx(path)


def test_a_flipped_bit_in_a_gzip_is_an_error(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(idx(np.zeros((50, 50), "u1"))))
    content[-6] ^= 1  # in the checksum
    path = tmp_path / "flipped.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"whole gzip file.*CRC"):
        read_idx(path)


def test_no_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")
