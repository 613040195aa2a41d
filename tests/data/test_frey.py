"""The Frey faces: where the file is looked for, how it is laid out, and which files are refused.

The files here are made in MATLAB's format; the last tests read the published file where it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_vae.data import DataError, Dataset, Threshold, frey_faces
from tests.data.face_files import FREY
from tests.data.face_files import FREY_FILE as FILE
from tests.data.face_files import write_frey as write


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)


def both(data: Dataset) -> list[list[int]]:
    """The images of both parts as bytes, in one order whatever the split."""
    return sorted((255 * torch.cat([data.train.values, data.test.values])).round().int().tolist())


@pytest.mark.parametrize("below", ["", "frey_faces"])
def test_a_folder_is_read_a_column_an_image(tmp_path: Path, below: str) -> None:
    write(tmp_path / "here" / below)
    data = frey_faces(tmp_path / "here")
    assert (len(data.train), len(data.test), data.image_shape) == (1769, 196, (28, 20))
    assert data.train.values.dtype == torch.float32
    assert data.train.values.is_contiguous()
    assert data.train.labels is None
    assert both(data) == sorted(FREY.T.tolist())


def test_the_environment_goes_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "cache" / "pyro_vae" / "frey_faces")
    assert len(frey_faces().train) == 1769
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / FILE).write_bytes(b"not the published file")
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path / "mine"))
    with pytest.raises(DataError, match=f"mine/{FILE}: expected a whole MATLAB file"):
        frey_faces()


def test_the_split_follows_its_seed_alone(tmp_path: Path) -> None:
    folder = write(tmp_path)
    torch.manual_seed(0)
    first = frey_faces(folder, seed=1)
    torch.manual_seed(1)
    assert torch.equal(first.test.values, frey_faces(folder, seed=1).test.values)
    other = frey_faces(folder, seed=2, test_fraction=0.5)
    assert not torch.equal(first.train.values[:100], other.train.values[:100])
    assert (len(other.train), len(other.test)) == (983, 982)
    assert both(first) == both(other)


def test_binarisation_reaches_both_parts(tmp_path: Path) -> None:
    data = frey_faces(write(tmp_path), binarisation=Threshold())
    for part in (data.train, data.test):
        assert part.values.unique().tolist() == [0.0, 1.0]


def test_no_file_is_an_error_that_names_every_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    cache = tmp_path / "cache" / "pyro_vae"
    with pytest.raises(FileNotFoundError) as raised:
        frey_faces()
    message = str(raised.value)
    for place in (tmp_path, tmp_path / "frey_faces", cache, cache / "frey_faces"):
        assert str(place) in message
    for way in (FILE, "https://cs.nyu.edu/", "PYRO_VAE_DATA", "data_dir="):
        assert way in message


def test_an_explicit_folder_is_the_only_place(tmp_path: Path) -> None:
    write(tmp_path / "cache" / "pyro_vae")
    with pytest.raises(FileNotFoundError, match=r"in one of .*nowhere \(no folder\), .*got none"):
        frey_faces(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"faces": FREY}, "a variable ff; got a MATLAB file without it"),
        ({"ff": FREY.T}, r"uint8 \(560, 1965\); got uint8 \(1965, 560\)"),
        ({"ff": FREY[:, :7]}, r"uint8 \(560, 1965\); got uint8 \(560, 7\)"),
        ({"ff": FREY / 255}, r"uint8 \(560, 1965\); got float64 \(560, 1965\)"),
        ({"ff": FREY.reshape(28, 20, -1)}, r"got uint8 \(28, 20, 1965\)"),
    ],
)
def test_other_variables_are_an_error(
    tmp_path: Path, variables: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path}/{FILE}: expected .*{message}.*another copy"):
        frey_faces(write(tmp_path, **variables))


@pytest.mark.parametrize("keep", [0, 60, 130, 1000, -1])
def test_a_file_cut_short_is_an_error(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path) / FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{FILE}: expected a whole MATLAB file; got a damaged"):
        frey_faces(tmp_path)


# In the header: the version, the byte order and the element's type; then in the compressed values.
@pytest.mark.parametrize("place", [125, 126, 128, 300, -20])
def test_a_damaged_file_is_an_error(tmp_path: Path, place: int) -> None:
    path = write(tmp_path) / FILE
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{FILE}: expected a whole MATLAB file; got a damaged"):
        frey_faces(tmp_path)


def test_a_hdf5_file_is_an_error(tmp_path: Path) -> None:
    """MATLAB's newer format, 7.3, which scipy does not read, with its header of 512 bytes."""
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / FILE).write_bytes(header.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(DataError, match=rf"{FILE}: expected a whole MATLAB file; got .*HDF"):
        frey_faces(tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 20])
def test_a_fraction_that_is_none_is_an_error(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"test_fraction: expected a number in \(0, 1\); got"):
        frey_faces(test_fraction=fraction)


def test_a_fraction_that_leaves_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{FILE}: expected examples for both parts .* 1965 in"):
        frey_faces(write(tmp_path), test_fraction=0.9999)


@pytest.fixture
def published(data_dir: Path) -> Dataset:
    """The published faces, or the test is skipped."""
    try:
        return frey_faces(data_dir)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_the_published_faces(published: Dataset) -> None:
    assert repr(published) == (
        "Dataset('frey_faces', 1769 train + 196 test of shape (560,), images 28×20, Grey(), cpu)"
    )
    values = torch.cat([published.train.values, published.test.values])
    assert (255 * values.aminmax().min, 255 * values.aminmax().max) == (8, 238)
    assert 255 * values.double().mean().item() == pytest.approx(154.46087, abs=1e-4)
    assert len(values.unique(dim=0)) == 1965


def test_the_published_faces_stand_upright(published: Dataset) -> None:
    """Rows are rows: neighbours in both directions are alike. The forehead, bright, is on top."""
    faces = published.train.values.reshape(-1, 28, 20)
    across, down = (faces.diff(dim=dim).abs().mean() for dim in (2, 1))
    in_other_rows = published.train.values.reshape(-1, 20, 28).diff(dim=1).abs().mean()
    assert max(across, down) < 0.5 * in_other_rows
    forehead, eyes, chin = (faces[:, rows, 4:16].mean() for rows in (slice(4), slice(5, 9), -1))
    assert min(eyes, chin) < max(eyes, chin) < forehead - 0.2
