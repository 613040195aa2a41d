"""A person's own arrays: formats, conversion, splits, and every kind of file that is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_vae.data import DataError, Dataset, Dynamic, Fixed, arrays

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(20, 3))


def both(data: Dataset) -> list[list[float]]:
    return sorted(torch.cat([data.train.values, data.test.values]).tolist())


def expected(values: np.ndarray) -> list[list[float]]:
    return sorted(values.astype(np.float32).tolist())


def saved(path: Path, **members: np.ndarray) -> Path:
    np.savez(path, **members)
    return path


def test_a_npy_file_is_split_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", POINTS)
    data = arrays(tmp_path / "points.npy", test_fraction=0.25)
    assert (data.name, len(data.train), len(data.test)) == ("points", 15, 5)
    assert data.train.values.dtype == torch.float32
    assert data.image_shape is None
    assert both(data) == expected(POINTS)


def test_a_path_an_array_and_a_tensor_give_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", POINTS)
    sources = (str(tmp_path / "points.npy"), POINTS, torch.from_numpy(POINTS))
    first, *others = (arrays(source).train.values for source in sources)
    assert all(torch.equal(first, other) for other in others)


def test_the_split_follows_its_seed_alone() -> None:
    torch.manual_seed(0)
    first = arrays(POINTS, seed=1).train.values
    torch.manual_seed(1)
    assert torch.equal(first, arrays(POINTS, seed=1).train.values)
    assert not torch.equal(first, arrays(POINTS, seed=2).train.values)


def test_a_small_array_still_holds_one_out() -> None:
    data = arrays(POINTS[:2])
    assert (len(data.train), len(data.test)) == (1, 1)


def test_a_published_split_is_kept(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "split.npz",
        x_train=POINTS[:12],
        x_test=POINTS[12:],
        y_train=np.arange(12),
        y_test=np.arange(8, dtype=np.uint8),
        comment=np.array("kept apart"),
    )
    data = arrays(path)
    assert data.train.values.tolist() == POINTS[:12].astype(np.float32).tolist()
    assert data.test.values.tolist() == POINTS[12:].astype(np.float32).tolist()
    assert data.train.labels.tolist() == list(range(12))
    assert data.test.labels.tolist() == list(range(8))
    assert data.test.labels.dtype == torch.int64


@pytest.mark.parametrize("key", ["x", "any_name"])
def test_one_array_in_a_npz_file(tmp_path: Path, key: str) -> None:
    assert both(arrays(saved(tmp_path / "one.npz", **{key: POINTS}))) == expected(POINTS)


def test_labels_stay_with_their_examples(tmp_path: Path) -> None:
    values = np.arange(20.0)[:, None]
    path = saved(tmp_path / "labelled.npz", x=values, y=np.arange(20))
    for data in (arrays(path), arrays(values, labels=torch.arange(20))):
        for part in (data.train, data.test):
            assert part.labels.tolist() == part.values[:, 0].int().tolist()


@pytest.mark.parametrize("as_tensor", [False, True])
def test_bytes_are_scaled_and_no_others(as_tensor: bool) -> None:
    def values(array: np.ndarray) -> list[float]:
        data = arrays(torch.from_numpy(array) if as_tensor else array)
        return [value for row in both(data) for value in row]

    column = np.array([[0], [51], [255]])
    assert values(column.astype(np.uint8)) == pytest.approx([0, 0.2, 1])
    assert values(column.astype(np.int16)) == [0, 51, 255]
    assert values(column.astype(np.float64)) == [0, 51, 255]
    assert values(column > 0) == [0, 1, 1]


def test_layouts_that_torch_does_not_take_are_converted() -> None:
    frozen = POINTS.copy()
    frozen.flags.writeable = False
    for array in (POINTS.astype(">f8"), POINTS[::-1], np.asfortranarray(POINTS), frozen):
        assert both(arrays(array)) == expected(POINTS)
    images = RNG.integers(0, 256, (20, 3), dtype=np.uint8)
    images.flags.writeable = False
    assert both(arrays(images[:, ::-1])) == expected(images[:, ::-1] / np.float32(255))


def test_the_source_is_not_shared() -> None:
    points = torch.rand(20, 3)
    before = points.clone()
    data = arrays(points, test_fraction=0.5)
    data.train.values.zero_()
    data.test.values.zero_()
    assert torch.equal(points, before)


@pytest.mark.parametrize(
    ("shape", "event", "image"),
    [
        ((10, 4, 5), (20,), (4, 5)),
        ((10, 4, 5, 1), (20,), (4, 5)),
        ((10, 4, 5, 3), (4, 5, 3), None),
        ((10, 6), (6,), None),
        ((10,), (), None),
    ],
)
def test_images_are_flattened_and_others_kept(
    shape: tuple[int, ...], event: tuple[int, ...], image: tuple[int, int] | None
) -> None:
    data = arrays(np.zeros(shape))
    assert (tuple(data.train.event_shape), data.image_shape) == (event, image)


def test_flattening_goes_row_by_row() -> None:
    image = np.arange(6.0).reshape(1, 2, 3)
    assert arrays(np.repeat(image, 2, axis=0)).test.values.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_a_flat_array_takes_an_image_shape() -> None:
    assert arrays(np.zeros((10, 6)), image_shape=(2, 3)).image_shape == (2, 3)


def test_binarisation_reaches_both_parts() -> None:
    images = RNG.integers(0, 256, (40, 30), dtype=np.uint8)
    data = arrays(images, binarisation=Fixed(), test_fraction=0.5)
    for part in (data.train, data.test):
        assert set(part.batch(slice(None)).unique().tolist()) == {0.0, 1.0}


class Touch:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_pickles_are_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    np.save(tmp_path / "objects.npy", np.array([Touch(trace)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=np.array([Touch(trace)], dtype=object))
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Touch(trace)))
    for name in ("objects.npy", "objects.npz", "plain.npy"):
        with pytest.raises(DataError, match=f"{name}: expected .*numpy.save"):
            arrays(tmp_path / name)
    assert not trace.exists()


def npy(tmp_path: Path) -> bytes:
    np.save(tmp_path / "whole.npy", POINTS)
    return (tmp_path / "whole.npy").read_bytes()


def npz(tmp_path: Path) -> bytes:
    return saved(tmp_path / "whole.npz", x=POINTS).read_bytes()


@pytest.mark.parametrize("keep", [7, 50, 200])
def test_a_npy_file_cut_short_is_an_error(tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut.npy").write_bytes(npy(tmp_path)[:keep])
    with pytest.raises(DataError, match=r"cut\.npy: expected a whole .npy or .npz .*; got .*Save"):
        arrays(tmp_path / "cut.npy")


@pytest.mark.parametrize("keep", [10, 300, -1])
def test_a_npz_file_cut_short_is_an_error(tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut.npz").write_bytes(npz(tmp_path)[:keep])
    with pytest.raises(DataError, match=r"cut\.npz: expected a whole .npy or .npz"):
        arrays(tmp_path / "cut.npz")


def test_a_flipped_bit_in_a_npz_file_is_an_error(tmp_path: Path) -> None:
    content = bytearray(npz(tmp_path))
    content[300] ^= 1
    (tmp_path / "flipped.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"flipped\.npz: expected a whole .*CRC"):
        arrays(tmp_path / "flipped.npz")


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "an empty file"), (b"1,2\n3,4\n", "a file that starts with")]
)
def test_a_foreign_file_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(
        DataError, match=rf"table\.csv: expected a .npy or .npz file; got {message}"
    ):
        arrays(tmp_path / "table.csv")


def test_no_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.npy", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{path}: expected a .npy or .npz file"):
            arrays(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([["a"], ["b"]]), "an array of numbers; got dtype <U1"),
        (np.array([[None], [1]], dtype=object), "an array of numbers; got dtype object"),
        (np.zeros((4, 2), dtype=[("a", "f4")]), "an array of numbers"),
        (np.zeros((4, 2), dtype=complex), "real numbers; got torch.complex128"),
        (torch.zeros(4, 2, dtype=torch.complex64), "real numbers; got torch.complex64"),
        (np.array([[1.0], [np.nan], [2.0]]), r"finite .*1 of 3 examples \(first at 1\)"),
        (np.array([[1.0], [1e300]]), r"finite .*1 of 2 examples \(first at 1\)"),
        (np.zeros((0, 5)), r"at least one example; got shape \[0, 5\]"),
        (np.array(3.0), "a single number"),
        (np.zeros((1, 5)), "examples for both parts .*; got 1 in all"),
    ],
)
def test_arrays_that_no_model_can_take_are_an_error(
    tmp_path: Path, array: np.ndarray | torch.Tensor, message: str
) -> None:
    with pytest.raises(DataError, match=rf"^array: expected .*{message}"):
        arrays(array)


def test_an_error_of_the_content_names_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", POINTS)
    with pytest.raises(DataError, match=rf"^{tmp_path}/grey\.npy: expected values in \[0, 1\]"):
        arrays(tmp_path / "grey.npy", binarisation=Dynamic())


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a": POINTS, "b": POINTS}, "one array, or arrays named x .*; got arrays named a, b"),
        ({}, r"one array, .*; got arrays named \(none\)"),
        ({"x_train": POINTS, "y_train": POINTS}, "got arrays named x_train, y_train"),
        ({"x_train": POINTS, "x_test": POINTS[:, :2]}, r"shape \(3,\), as in x_train; got \(2,\)"),
        (
            {"x_train": POINTS, "x_test": POINTS, "y_test": np.arange(20)},
            "both y_train and y_test, or neither",
        ),
        # As many labels as examples in all, but not in each part.
        (
            {
                "x_train": POINTS,
                "x_test": POINTS[:5],
                "y_train": np.arange(5),
                "y_test": np.arange(20),
            },
            r"labels of shape \[20\], .*; got shape \[5\]",
        ),
        ({"x": POINTS, "y": np.arange(19)}, r"labels of shape \[20\], .*; got shape \[19\]"),
        ({"x": POINTS, "y": np.arange(20.0)}, "integer labels; got dtype float64"),
        ({"x_train": POINTS, "x_test": POINTS[:0]}, "at least one example"),
    ],
)
def test_npz_files_with_other_arrays_are_an_error(
    tmp_path: Path, members: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(DataError, match=rf"odd\.npz: expected .*{message}"):
        arrays(saved(tmp_path / "odd.npz", **members))


def test_labels_twice_are_an_error(tmp_path: Path) -> None:
    path = saved(tmp_path / "labelled.npz", x=POINTS, y=np.arange(20))
    with pytest.raises(DataError, match="labels= only with a source that has no labels"):
        arrays(path, labels=np.arange(20))


def test_options_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"test_fraction: expected a number in \(0, 1\); got 1.5"):
        arrays(POINTS, test_fraction=1.5)
    with pytest.raises(DataError, match=r"examples for both parts .*test_fraction=0.99; got 20"):
        arrays(POINTS, test_fraction=0.99)
    with pytest.raises(DataError, match=r"images of shape \(5, 4\); got \(4, 5\)"):
        arrays(np.zeros((3, 4, 5)), image_shape=(5, 4))
    with pytest.raises(DataError, match="flat examples of 4 values"):
        arrays(POINTS, image_shape=(2, 2))
