"""Examples and Dataset: selection, moving, and what is refused at construction."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from pyro_vae.data import (
    Binarisation,
    DataError,
    Dataset,
    Dynamic,
    Examples,
    Fixed,
    Grey,
    Threshold,
)

ROWS = torch.arange(12.0, dtype=torch.float32).reshape(6, 2)
LABELS = torch.arange(6)


class Counting(Binarisation):
    """Adds one in `prepare`, so that a second run of it shows."""

    def prepare(self, values: torch.Tensor) -> torch.Tensor:
        return values + 1

    def draw(self, values: torch.Tensor) -> torch.Tensor:
        return values


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (torch.tensor([4, 0, 4]), [4, 0, 4]),
        (torch.tensor([True, False, False, True, False, False]), [0, 3]),
        (slice(1, 6, 2), [1, 3, 5]),
        (torch.tensor([-1]), [5]),
    ],
)
def test_batch_and_take_select_rows(index: torch.Tensor | slice, rows: list[int]) -> None:
    examples = Examples(ROWS, LABELS)
    taken = examples.take(index)
    assert examples.batch(index).tolist() == ROWS[rows].tolist()
    assert taken.values.tolist() == ROWS[rows].tolist()
    assert taken.labels is not None
    assert taken.labels.tolist() == rows
    assert len(taken) == len(rows)


def test_take_and_to_do_not_prepare_again() -> None:
    examples = Examples(ROWS, binarisation=Counting())
    assert torch.equal(examples.values, ROWS + 1)
    assert torch.equal(examples.take(slice(2, 4)).values, ROWS[2:4] + 1)
    assert torch.equal(examples.to("cpu").values, ROWS + 1)


def test_replace_prepares_for_the_new_binarisation() -> None:
    examples = Examples(torch.tensor([[0.2, 0.8]]))
    assert replace(examples, binarisation=Threshold()).values.tolist() == [[0.0, 1.0]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_batches_are_gathered_there_and_draws_follow_its_seed() -> None:
    values = torch.rand(6, 2)
    fixed = Examples(values, LABELS, Fixed(1))
    assert torch.equal(Examples(values.cuda(), binarisation=Fixed(1)).values.cpu(), fixed.values)
    examples = Examples(values, LABELS, Dynamic()).to("cuda")
    torch.cuda.manual_seed(0)
    first = examples.batch(torch.arange(6))
    torch.cuda.manual_seed(0)
    assert first.device.type == "cuda"
    assert torch.equal(first, examples.batch(torch.arange(6, device="cuda")))
    assert examples.take(torch.tensor([5])).labels.device.type == "cuda"


def test_examples_are_frozen_and_readable() -> None:
    examples = Examples(ROWS, LABELS, Grey())
    with pytest.raises(FrozenInstanceError):
        examples.values = ROWS  # type: ignore[misc]
    assert repr(examples) == "Examples(6 of shape (2,), labels, Grey(), cpu)"
    assert (examples.event_shape, examples.device) == (torch.Size([2]), torch.device("cpu"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.empty(0, 3), r"at least one example; got shape \[0, 3\]"),
        (torch.tensor(1.0), r"at least one example; got shape \[\]"),
        (torch.ones(2, 3, dtype=torch.int64), r"floating values; got torch.int64.*float32"),
        (torch.tensor([[1.0], [float("nan")]]), r"finite .* 1 of 2 examples \(first at 1\)"),
        (torch.tensor([[[float("inf")]], [[-float("inf")]]]), r"finite .* 2 of 2 .*first at 0"),
        (torch.tensor([0.0, float("nan"), 1.0]), r"finite .* 1 of 3 examples \(first at 1\)"),
    ],
)
def test_values_that_no_model_can_take_are_an_error(values: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Examples(values)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:5], r"torch.int64 \[6\] on cpu; got torch.int64 \[5\]"),
        (LABELS.float(), r"torch.int64 \[6\] on cpu; got torch.float32 \[6\]"),
        (LABELS[:, None], r"got torch.int64 \[6, 1\]"),
    ],
)
def test_labels_that_do_not_fit_are_an_error(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Examples(ROWS, labels)


def test_selections_that_lose_a_dimension_or_every_example_are_an_error() -> None:
    examples = Examples(ROWS)
    with pytest.raises(DataError, match=r"a slice or an index .* got 3\. Index one"):
        # Unwrapped, as the test suite's own check of types would speak first.
        inspect.unwrap(Examples._rows)(examples, 3)
    with pytest.raises(DataError, match=r"got shape \[\]"):
        examples.take(torch.tensor(3))
    with pytest.raises(DataError, match="at least one example"):
        examples.take(slice(6, None))


def test_a_dataset_reads_as_a_summary_and_moves() -> None:
    data = Dataset("pairs", Examples(ROWS[:4]), Examples(ROWS[4:]), (1, 2)).to("cpu")
    assert repr(data) == "Dataset('pairs', 4 train + 2 test of shape (2,), images 1×2, Grey(), cpu)"
    assert torch.equal(data.test.values, ROWS[4:])


def test_a_dataset_of_two_shapes_is_an_error() -> None:
    with pytest.raises(DataError, match=r"training examples, \(2,\); got \(1,\)"):
        Dataset("odd", Examples(ROWS), Examples(ROWS[:, :1]))


def test_an_image_shape_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(DataError, match=r"flat examples of 4 values .*; got .*\(2,\)"):
        Dataset("odd", Examples(ROWS), Examples(ROWS), (2, 2))
