"""CelebA: reading it as it is distributed, the cache of small images, and what is refused.

The photographs here are made by the tests, in the form of the published ones. The last tests are
of what CelebA is the first to need: examples that are held as bytes.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae import VAE, NormalGuide, NormalLikelihood, StandardNormalPrior, fit
from pyro_vae.data import (
    Binarisation,
    DataError,
    Dynamic,
    Examples,
    Fixed,
    Grey,
    Threshold,
    _celeba,
    celeba,
)
from pyro_vae.nn import MLP
from tests.data.face_files import ATTRIBUTES, FACES, PARTITION, TRAINING, save
from tests.data.face_files import write_celeba as write


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and no other place to look in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)
    return tmp_path / "cache" / "pyro_vae"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "celeba")


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def middle(examples: Examples) -> list[list[float]]:
    """The colours in the middle of the images, as bytes."""
    size = examples.event_shape[-1]
    return (255 * examples.draw()[:, :, size // 2, size // 2]).tolist()


def colours(*names: str) -> list[object]:
    return [pytest.approx(FACES[name][1], abs=3) for name in names]


# --- what is read -------------------------------------------------------------------------------


def test_the_published_form_is_read(folder: Path) -> None:
    data = celeba(folder)
    assert repr(data) == ("Dataset('celeba', 3 train + 2 test of shape (3, 64, 64), Grey(), cpu)")
    assert middle(data.train) == colours(*TRAINING)
    assert middle(data.test) == colours("000002.jpg", "000005.jpg")
    assert data.train.labels is None


def test_validation_images_can_be_held_out_instead(folder: Path) -> None:
    data = celeba(folder, validation=True)
    assert middle(data.test) == colours("000004.jpg")
    assert middle(data.train) == colours(*TRAINING)


def test_an_attribute_makes_the_labels(folder: Path) -> None:
    data = celeba(folder, attribute="Smiling", validation=True)
    assert data.train.labels.tolist() == [1, 0, 1]
    assert data.test.labels.tolist() == [1]
    assert data.train.labels.dtype == torch.int64
    assert celeba(folder, attribute="Male").test.labels.tolist() == [0, 0]


def test_images_are_bytes_and_their_batches_floats(folder: Path) -> None:
    examples = celeba(folder).train
    assert examples.values.dtype == torch.uint8
    batch = examples.batch(torch.tensor([2, 0]))
    assert (batch.dtype, batch.shape) == (torch.float32, (2, 3, 64, 64))
    assert torch.equal(batch, examples.values[[2, 0]].float() / 255)


def test_the_centre_is_cut_out_of_the_photograph(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (218, 178, 3), dtype=np.uint8)
    read = save(folder, "000001.jpg", pixels)
    whole = celeba(folder, size=148).train.values[0]
    assert torch.equal(whole, torch.tensor(read[35 : 35 + 148, 15 : 15 + 148]).permute(2, 0, 1))
    narrow = celeba(folder, size=50, crop=50).train.values[0]
    assert torch.equal(narrow, torch.tensor(read[84 : 84 + 50, 64 : 64 + 50]).permute(2, 0, 1))


def test_a_smaller_image_averages_what_it_covers(folder: Path) -> None:
    """Of a fine grid of black and white, picking single pixels would leave black and white."""
    grid = 255 * (np.indices((218, 178)).sum(axis=0) % 2)
    save(folder, "000001.jpg", np.repeat(grid[..., None], 3, axis=2).astype(np.uint8))
    small = celeba(folder, size=37).train.values[0].float()
    assert (small - 127.5).abs().max() < 10


def test_a_smaller_image_keeps_its_places(folder: Path) -> None:
    pixels = np.zeros((218, 178, 3), np.uint8)
    pixels[:109, :89], pixels[109:, 89:] = (255, 0, 0), (0, 0, 255)
    save(folder, "000001.jpg", pixels)
    small = celeba(folder, size=8).train.values[0].float()
    corners = small[:, [1, 1, 6, 6], [1, 6, 1, 6]].T.tolist()
    expected = [(255, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 255)]
    assert corners == [pytest.approx(colour, abs=6) for colour in expected]


# --- where it is looked for ---------------------------------------------------------------------


@pytest.mark.parametrize("below", ["mine", "mine/celeba"])
def test_the_environment_goes_before_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    write(cache / "celeba")
    (cache / "celeba" / "list_eval_partition.txt").write_text("not this one")
    write(tmp_path / below)
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path / "mine"))
    assert len(celeba().train) == 3


def test_it_is_found_in_the_cache(cache: Path) -> None:
    write(cache / "celeba")
    assert len(celeba().train) == 3


def test_nothing_anywhere_is_an_error_that_names_every_place(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError) as raised:
        celeba()
    message = str(raised.value)
    for place in (tmp_path, tmp_path / "celeba", cache, cache / "celeba"):
        assert str(place) in message
    for way in ("list_eval_partition.txt", "https://mmlab", "PYRO_VAE_DATA", "data_dir="):
        assert way in message


def test_an_explicit_folder_is_the_only_place(tmp_path: Path, cache: Path) -> None:
    write(cache / "celeba")
    with pytest.raises(FileNotFoundError, match=r"in one of .*nowhere \(no folder\), .*got none"):
        celeba(tmp_path / "nowhere")


def test_a_part_that_is_missing_is_an_error(folder: Path) -> None:
    (folder / "list_attr_celeba.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"list_attr_celeba\.txt: .*attribute='Smiling'"):
        celeba(folder, attribute="Smiling")
    shutil.rmtree(folder / "img_align_celeba")
    with pytest.raises(FileNotFoundError, match=r"img_align_celeba: .*Extract img_align_celeba"):
        celeba(folder)


# --- the cache ----------------------------------------------------------------------------------


def test_photographs_are_read_once(
    folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = celeba(folder)
    assert "6/6" in capsys.readouterr().err
    shutil.rmtree(folder / "img_align_celeba")
    second = celeba(folder, attribute="Smiling", validation=True)
    assert capsys.readouterr().err == ""
    assert torch.equal(first.train.values, second.train.values)
    assert len(files(cache)) == 1
    assert files(cache)[0].startswith("64-of-148-")


def test_the_file_in_the_cache_is_mapped_and_safe_from_writes(folder: Path, cache: Path) -> None:
    data = celeba(folder)
    [path] = cache.rglob("*.npy")
    before = np.load(path)
    assert before.dtype == np.uint8
    assert before.shape == (6, 3, 64, 64)
    # Training images lie first in the file, in the order of the list: no row is copied.
    assert data.train.values.untyped_storage().data_ptr() == data.train.values.data_ptr()
    assert data.test.values.untyped_storage().data_ptr() == (
        data.train.values.untyped_storage().data_ptr()
    )
    data.train.values.zero_()
    assert np.array_equal(np.load(path), before)
    assert torch.equal(celeba(folder).train.values, torch.from_numpy(before[:3]))


def test_what_it_is_made_of_makes_another_cache(folder: Path, cache: Path, tmp_path: Path) -> None:
    def made(**options: int) -> int:
        data = celeba(folder, **options)
        assert tuple(data.train.event_shape) == (3, *2 * (options.get("size", 64),))
        return len(files(cache))

    assert [made(), made(size=32), made(crop=178), made(), made(size=32)] == [1, 2, 3, 3, 3]
    other = write(tmp_path / "other")
    save(other, "000001.jpg", np.full((218, 178, 3), 77, np.uint8))
    assert middle(celeba(other).train)[0] == pytest.approx([77, 77, 77], abs=3)
    assert len(files(cache)) == 4


def test_another_list_makes_another_cache_where_the_images_are_others(
    folder: Path, cache: Path
) -> None:
    celeba(folder)
    path = folder / "list_eval_partition.txt"
    path.write_text(PARTITION.replace("000006.jpg 0\n", ""))
    assert middle(celeba(folder).train) == colours("000001.jpg", "000003.jpg")
    path.write_text(PARTITION.replace("000006.jpg 0", "000006.jpg 2"))
    assert middle(celeba(folder).test) == colours("000002.jpg", "000005.jpg", "000006.jpg")
    assert len(files(cache)) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_preparation_that_breaks_off_leaves_no_cache(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    small, done = _celeba._small, list[Path]()

    def breaks_off(path: Path, size: int, crop: int) -> np.ndarray:
        if len(done) == 3:
            assert len(files(cache)) == 1  # the part that is written so far
            raise error
        done.append(path)
        return small(path, size, crop)

    with monkeypatch.context() as patch:
        patch.setattr(_celeba, "_small", breaks_off)
        with pytest.raises(type(error)):
            celeba(folder)
    assert files(cache) == []
    assert middle(celeba(folder).train) == colours(*TRAINING)


@pytest.mark.parametrize("keep", [0, 5, 60, 200, -1])
def test_a_cache_cut_short_is_an_error(folder: Path, cache: Path, keep: int) -> None:
    celeba(folder)
    [path] = cache.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{path}: expected a whole array .*; got .*Remove it"):
        celeba(folder)
    path.unlink()
    assert len(celeba(folder).train) == 3


def test_a_cache_of_another_array_is_an_error(folder: Path, cache: Path) -> None:
    celeba(folder)
    [path] = cache.rglob("*.npy")
    for array in (np.zeros((5, 3, 64, 64), np.uint8), np.zeros((6, 3, 64, 64), np.int8)):
        np.save(path, array)
        with pytest.raises(DataError, match=rf"uint8 \[6, 3, 64, 64\]; got {array.dtype} \["):
            celeba(folder)


# --- what is refused ----------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def foreign(path: Path) -> None:
    path.write_bytes(b"<html>no such file</html>")


def another_format(path: Path) -> None:
    Image.new("RGB", (178, 218)).save(path, "PNG")


def another_size(path: Path) -> None:
    Image.new("RGB", (218, 178)).save(path, "JPEG")


def without_colour(path: Path) -> None:
    Image.new("L", (178, 218)).save(path, "JPEG")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "a whole JPEG file; got .*truncated"),
        (foreign, "a whole JPEG file; got cannot identify"),
        (another_format, "a whole JPEG file; got cannot identify"),
        (another_size, "a photograph in RGB of 178×218; got one in RGB of 218×178"),
        (without_colour, "a photograph in RGB of 178×218; got one in L of 178×218"),
        (Path.unlink, r"a photograph, as list_eval_partition\.txt names it; got no such file"),
    ],
)
def test_a_photograph_that_is_none_is_an_error_and_leaves_no_cache(
    folder: Path, cache: Path, damage: object, message: str
) -> None:
    path = folder / "img_align_celeba" / "000003.jpg"
    damage(path)
    with pytest.raises(DataError, match=f"^{path}: expected {message}"):
        celeba(folder)
    assert files(cache) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("000003.jpg 3", r", line 3: expected a name and 0, 1 or 2.*; got '000003\.jpg 3'"),
        ("000003.jpg", r", line 3: expected a name .*; got '000003\.jpg'"),
        ("000003.jpg 0 0", ", line 3: expected a name"),
        ("", ", line 3: expected a name .*; got ''"),
        ("000001.jpg 0", r", line 3: expected a name once; got 000001\.jpg again"),
    ],
)
def test_a_line_of_the_partition_that_cannot_be_read_is_an_error(
    folder: Path, changed: str, message: str
) -> None:
    path = folder / "list_eval_partition.txt"
    path.write_text(PARTITION.replace("000003.jpg 0", changed))
    with pytest.raises(DataError, match=f"^{path}{message}"):
        celeba(folder)


@pytest.mark.parametrize("content", [b"", bytes(range(256)), b"\xff\xd8\xff\xe0" * 1000])
def test_a_partition_that_is_none_is_an_error(folder: Path, content: bytes) -> None:
    path = folder / "list_eval_partition.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"(?s)^{path}.{{0,200}}$") as raised:
        celeba(folder)
    assert len(str(raised.value)) < len(str(path)) + 300


@pytest.mark.parametrize(("part", "validation"), [(0, False), (1, True), (2, False)])
def test_a_partition_without_photographs_is_an_error(
    folder: Path, cache: Path, part: int, validation: bool
) -> None:
    lines = PARTITION.splitlines()
    path = folder / "list_eval_partition.txt"
    path.write_text("\n".join(line for line in lines if not line.endswith(str(part))))
    with pytest.raises(DataError, match=f"{path}: expected photographs of partition {part}; got"):
        celeba(folder, validation=validation)
    assert files(cache) == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("6\nMale", "7\nMale", ": expected the number of photographs .*; got '7' in line 1 of 8"),
        ("6\nMale", "Male", ": expected the number of photographs .*; got 'Male Smiling Young '"),
        (ATTRIBUTES, "", ": expected the number of photographs .*; got '' in line 1 of 0"),
        (ATTRIBUTES, "0", ": expected the number of photographs .*; got '0' in line 1 of 1"),
        ("Smiling", "Grinning", ": expected an attribute among Male, Grinning, Young; got Smiling"),
        ("000001.jpg -1  1  1", "000001.jpg -1  1", ", line 3: expected a name and 3 times 1 or"),
        ("000001.jpg -1  1  1", "000001.jpg -1  1  0", ", line 3: expected a name and 3 times"),
        ("000001.jpg -1  1  1", "", ", line 3: expected a name and 3 times 1 or -1; got ''"),
        ("000001.jpg", "000009.jpg", r": expected a line for 000001\.jpg, which list_eval"),
    ],
)
def test_attributes_that_cannot_be_read_are_an_error(
    folder: Path, cache: Path, before: str, after: str, message: str
) -> None:
    path = folder / "list_attr_celeba.txt"
    assert before in ATTRIBUTES
    path.write_text(ATTRIBUTES.replace(before, after))
    with pytest.raises(DataError, match=f"^{path}{message}"):
        celeba(folder, attribute="Smiling")
    assert files(cache) == []  # said before the photographs are read, which takes minutes
    assert len(celeba(folder).train) == 3


@pytest.mark.parametrize(("size", "crop"), [(0, 148), (149, 148), (64, 179), (-1, -1)])
def test_sizes_out_of_range_are_an_error(folder: Path, size: int, crop: int) -> None:
    with pytest.raises(ValueError, match=f"≤ 178; got size={size} and crop={crop}"):
        celeba(folder, size=size, crop=crop)


# --- bytes as examples --------------------------------------------------------------------------

BYTES = torch.arange(256, dtype=torch.uint8).reshape(64, 4)
FLOATS = BYTES.to(torch.float32) / 255
EVERY = slice(None)


@pytest.mark.parametrize("binarisation", [Grey(), Dynamic(), Fixed(1), Threshold(0.3)])
def test_bytes_give_the_batches_of_their_floats(binarisation: Binarisation) -> None:
    def batches(values: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        examples = replace(Examples(values), binarisation=binarisation)
        taken = examples.take(slice(8, 40)).to("cpu")
        return torch.cat([examples.batch(torch.tensor([9, 3])), examples.draw(), taken.draw()])

    assert batches(BYTES).dtype == torch.float32
    assert torch.equal(batches(BYTES), batches(FLOATS))


@pytest.mark.parametrize("binarisation", [Grey(), Dynamic()])
def test_bytes_stay_bytes_until_they_are_drawn(binarisation: Binarisation) -> None:
    examples = Examples(BYTES, binarisation=binarisation)
    assert examples.values is BYTES
    assert examples.take(torch.tensor([5, 1])).values.tolist() == BYTES[[5, 1]].tolist()
    assert examples.to("cpu").values.dtype == torch.uint8


def test_a_pair_trains_on_bytes_as_on_their_floats() -> None:
    def weights(values: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        vae = VAE(
            prior=StandardNormalPrior(1),
            likelihood=NormalLikelihood(MLP(1, [8], 4)),
            guide=NormalGuide(MLP(4, [8], 2)),
        )
        data = Examples(values)
        fit(vae, data, epochs=2, batch_size=16, validation=data.take(EVERY), progress=False)
        return torch.cat([parameter.flatten() for parameter in vae.parameters()])

    assert torch.equal(weights(BYTES), weights(FLOATS))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bytes_move_as_bytes(folder: Path) -> None:
    here = celeba(folder, attribute="Smiling")
    there = here.to("cuda")
    assert (there.train.values.dtype, there.train.device.type) == (torch.uint8, "cuda")
    assert torch.equal(there.train.draw().cpu(), here.train.draw())
    assert there.train.labels.tolist() == here.train.labels.tolist()
