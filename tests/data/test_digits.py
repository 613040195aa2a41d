"""The digits of scikit-learn: the real values, and a split that is seeded and stratified."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from pyro_vae.data import Dynamic, Fixed, digits


def test_the_values_are_the_published_counts() -> None:
    data = digits()
    assert (len(data.train), len(data.test), data.image_shape) == (1437, 360, (8, 8))
    assert data.train.values.dtype == torch.float32
    both = torch.cat([data.train.values, data.test.values])
    counts = torch.from_numpy(load_digits().data)
    ordered = sorted((16 * both).int().tolist())
    assert ordered == sorted(counts.int().tolist())


def test_labels_stay_with_their_images() -> None:
    images, labels = load_digits(return_X_y=True)
    label_of = {tuple(image): label for image, label in zip(images, labels, strict=True)}
    test = digits().test
    found = [label_of[tuple(image)] for image in (16 * test.values).tolist()]
    assert test.labels is not None
    assert test.labels.tolist() == found


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_the_split_is_stratified(fraction: float) -> None:
    data = digits(test_fraction=fraction)
    held_out, rest = data.test.labels.bincount(), data.train.labels.bincount()
    assert torch.all((held_out - fraction * (held_out + rest)).abs() <= 1)


def test_the_split_follows_its_seed_alone() -> None:
    torch.manual_seed(0)
    first = digits(seed=5).train.values
    torch.manual_seed(1)
    assert torch.equal(first, digits(seed=5).train.values)
    assert not torch.equal(first, digits(seed=6).train.values)


def test_a_fixed_draw_does_not_depend_on_the_split() -> None:
    def images(seed: int) -> list[list[float]]:
        data = digits(Fixed(), seed=seed)
        return sorted(torch.cat([data.train.values, data.test.values]).tolist())

    assert images(0) == images(1)


def test_batches_are_binarised() -> None:
    drawn = digits(Dynamic()).test.batch(slice(0, 50))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 20])
def test_a_fraction_that_is_none_is_an_error(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"test_fraction: expected a number in \(0, 1\); got"):
        digits(test_fraction=fraction)
