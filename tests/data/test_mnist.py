"""MNIST: where it is looked for, how it is downloaded, and that it is the published one.

The files here are small ones in MNIST's format, served on this machine; the last test reads the
published files where they are.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyro_vae.data import DataError, Fixed, _mnist, mnist

TRAIN, TEST = 6, 4
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = dict(zip(NAMES, [(TRAIN, 28, 28), (TRAIN,), (TEST, 28, 28), (TEST,)], strict=True))
    return {name: rng.integers(0, 10, size, dtype=np.uint8) for name, size in sizes.items()}


def write(folder: Path, packed: bool = True, **changed: bytes) -> Path:
    """The four files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays().items():
        content = changed.get(name.split("-idx")[0].replace("-", "_"), idx(array))
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.fixture(autouse=True)
def small_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Published files of ten images, an empty cache, and a mirror that nothing listens on."""
    parts = ("TRAIN_IMAGES", "TRAIN_LABELS", "TEST_IMAGES", "TEST_LABELS")
    for attribute, (name, array) in zip(parts, arrays().items(), strict=True):
        sha = hashlib.sha256(idx(array)).hexdigest() if "images" in name else None
        monkeypatch.setattr(_mnist, attribute, _mnist.Part(name, array.shape, sha))
    monkeypatch.setattr(_mnist, "MIRROR", "http://127.0.0.1:1/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and notes what was asked for."""

    asked: list[str]

    def log_message(self, *args: Any) -> None:
        self.asked.append(self.path)


class Mirror:
    """A server of the files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[str]()
        handler = type("Noting", (Handler,), {"asked": self.asked})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    mirror = Mirror(write(tmp_path / "mirror"))
    mirror.thread.start()
    monkeypatch.setattr(_mnist, "MIRROR", mirror.url)
    yield mirror
    mirror.close()


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("below", ["", "mnist"])
def test_a_folder_is_read(tmp_path: Path, packed: bool, below: str) -> None:
    write(tmp_path / "here" / below, packed)
    data = mnist(tmp_path / "here")
    images = arrays()[NAMES[2]]
    assert (len(data.train), len(data.test), data.image_shape) == (TRAIN, TEST, (28, 28))
    assert data.test.values.dtype == torch.float32
    expected = torch.tensor(images.reshape(TEST, 784) / 255, dtype=torch.float32)
    torch.testing.assert_close(data.test.values, expected, rtol=0, atol=1e-7)
    assert data.train.labels.tolist() == arrays()[NAMES[1]].tolist()
    assert data.test.labels.tolist() == arrays()[NAMES[3]].tolist()


def test_the_environment_goes_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cache" / "pyro_vae")
    assert len(mnist(download=False).train) == TRAIN
    write(tmp_path / "mine", train_images=b"not the published images")
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path / "mine"))
    with pytest.raises(DataError, match=r"mine/train-images-idx3-ubyte\.gz: expected an IDX file"):
        mnist(download=False)


def test_a_file_that_the_environment_lacks_comes_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cache" / "pyro_vae" / "mnist")
    (write(tmp_path / "mine") / f"{NAMES[3]}.gz").unlink()
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path / "mine"))
    assert len(mnist(download=False).test) == TEST


def test_fixed_draws_of_the_same_image_differ_between_train_and_test(tmp_path: Path) -> None:
    """784 pixels of equal probability agree by chance with probability below 1e-100."""
    data = mnist(write(tmp_path / "here"), Fixed())
    assert not torch.equal(data.train.values[:TEST], data.test.values)
    assert set(data.test.values.unique().tolist()) <= {0.0, 1.0}


def test_a_download_is_kept_and_not_repeated(
    tmp_path: Path, mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    first = mnist()
    assert sorted(mirror.asked) == sorted(f"/{name}.gz" for name in NAMES)
    assert cached(tmp_path) == sorted(f"{name}.gz" for name in NAMES)
    progress = capsys.readouterr().err
    assert all(f"{name}.gz: 100%" in progress for name in NAMES)
    second = mnist()
    assert len(mirror.asked) == 4
    assert capsys.readouterr().err == ""
    assert torch.equal(first.train.values, second.train.values)


def test_only_what_is_missing_is_downloaded(tmp_path: Path, mirror: Mirror) -> None:
    (write(tmp_path / "cache" / "pyro_vae" / "mnist") / f"{NAMES[2]}.gz").unlink()
    mnist()
    assert mirror.asked == [f"/{NAMES[2]}.gz"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (idx(np.zeros((TRAIN, 28, 28), np.uint8)), "with SHA-256 .*; got .* fetch it again"),
        (idx(np.zeros((TRAIN, 8, 8), np.uint8)), r"uint8 \[6, 28, 28\] .*; got uint8 \[6, 8, 8\]"),
        (b"<html>no such bucket</html>", "an IDX file.*3c 68 74 6d"),
    ],
)
def test_a_wrong_download_leaves_nothing_in_the_cache(
    tmp_path: Path, mirror: Mirror, changed: bytes, message: str
) -> None:
    write(mirror.folder, train_images=changed)
    with pytest.raises(DataError, match=f"{mirror.url}.*: expected .*{message}"):
        mnist()
    assert cached(tmp_path) == []


def test_a_download_that_breaks_off_leaves_nothing_in_the_cache(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def announced_longer(self: Handler, keyword: str, value: str) -> None:
        longer = str(int(value) + 1) if keyword == "Content-Length" else value
        super(Handler, self).send_header(keyword, longer)

    monkeypatch.setattr(Handler, "send_header", announced_longer, raising=False)
    with pytest.raises(FileNotFoundError, match=r"closed after \d+ of \d+ bytes"):
        mnist()
    assert cached(tmp_path) == []


def test_a_file_that_the_mirror_lacks_is_an_error(tmp_path: Path, mirror: Mirror) -> None:
    (mirror.folder / f"{NAMES[1]}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"expected {NAMES[1]} .*failed .*404"):
        mnist()
    assert f"{NAMES[1]}.gz" not in cached(tmp_path)


@pytest.mark.parametrize("download", [False, True])
def test_no_file_and_no_network_names_every_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool
) -> None:
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    cache = tmp_path / "cache" / "pyro_vae"
    with pytest.raises(FileNotFoundError) as raised:
        mnist(download=download)
    message = str(raised.value)
    for place in (tmp_path, tmp_path / "mnist", cache, cache / "mnist"):
        assert str(place) in message
    for way in ("PYRO_VAE_DATA", "data_dir=", "--data-dir", "network"):
        assert way in message
    assert ("download of http://127.0.0.1:1/" in message) == download


def test_an_explicit_folder_is_the_only_place(tmp_path: Path, mirror: Mirror) -> None:
    write(tmp_path / "cache" / "pyro_vae")
    with pytest.raises(FileNotFoundError, match=r"in one of .*nowhere \(no folder\)"):
        mnist(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=f"in one of {empty}, .*got none"):
        mnist(empty)
    assert mirror.asked == []
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"t10k_labels": idx(np.array([1, 2, 10, 3], np.uint8))}, "from 0 to 9; got 10"),
        ({"t10k_labels": idx(np.array([1, 2], np.uint8))}, r"uint8 \[4\] .*; got uint8 \[2\]"),
        ({"t10k_images": idx(np.ones((TEST, 28, 28), np.uint8))}, "published t10k-.*SHA-256"),
        ({"train_images": b"\0\0\x08\3"}, "a header of 3 sizes"),
    ],
)
def test_files_that_are_not_the_published_ones_are_an_error(
    tmp_path: Path, changed: dict[str, bytes], message: str
) -> None:
    folder = write(tmp_path / "here", **changed)
    with pytest.raises(DataError, match=f"{folder}/.*expected .*{message}"):
        mnist(folder)


def published_folder() -> Path | None:
    """Where the published files are on this machine, if the user said so."""
    root = os.environ.get("PYRO_VAE_DATA")
    folders = [Path(root), Path(root) / "mnist"] if root else []
    return next((f for f in folders if list(f.glob(f"{NAMES[0]}*"))), None)


PUBLISHED = published_folder()


@pytest.mark.skipif(PUBLISHED is None, reason="set PYRO_VAE_DATA to the folder of MNIST's files")
def test_the_published_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    data = mnist(PUBLISHED)
    assert (len(data.train), len(data.test), data.image_shape) == (60_000, 10_000, (28, 28))
    assert data.train.labels.bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.train.values.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert data.train.values.max().item() == 1
