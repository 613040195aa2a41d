"""Examples held as one tensor, on the device where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import InitVar, dataclass

import torch
from torch import Tensor

from pyro_vae.data._errors import DataError, mismatch
from pyro_vae.data.binarisation import GREY, Binarisation

_NUMBERS_AT_ONCE = 2**23  # 32 MiB of float32; 10,000 images of MNIST


@dataclass(frozen=True, eq=False, repr=False)
class Examples:
    """Values `[N, *event]`, perhaps labels `[N]`, and how the values are binarised.

    `dataclasses.replace(examples, binarisation=...)` gives the same examples binarised otherwise.

    Args:
        values: float32 `[N, *event]` on any device; another floating dtype is kept. Bytes (uint8)
            stay bytes, in a quarter of the memory: `batch` gives them as float32 in [0, 1], byte /
            255. Once made, `values` holds what `binarisation.prepare` gave for it.
        labels: int64 `[N]` on the same device, or None.
        binarisation: how grey values become zeros and ones; by default they stay as they are.
        prepared: the values went through `binarisation.prepare` already.

    Raises:
        DataError: when there is no example, when the values are neither bytes nor floating, when
            they are not finite or off the support of the binarisation, or when the labels do not
            fit the values.

    >>> import torch
    >>> from pyro_vae.data import Examples, Threshold
    >>> grey = torch.tensor([[0.1, 0.9], [0.6, 0.4], [0.7, 0.8]])
    >>> examples = Examples(grey, binarisation=Threshold(0.5))
    >>> examples
    Examples(3 of shape (2,), Threshold(level=0.5), cpu)
    >>> examples.batch(torch.tensor([2, 0]))
    tensor([[1., 1.],
            [0., 1.]])
    """

    values: Tensor
    labels: Tensor | None = None
    binarisation: Binarisation = GREY
    prepared: InitVar[bool] = False

    def __post_init__(self, prepared: bool) -> None:
        _check_shape(self.values)
        if self.labels is not None:
            _check_labels(self.labels, self.values)
        if not prepared:
            _check_numbers(self.values)
            object.__setattr__(self, "values", self.binarisation.prepare(self.values))

    def __len__(self) -> int:
        return self.values.shape[0]

    def __repr__(self) -> str:
        labels = "" if self.labels is None else "labels, "
        shape = tuple(self.event_shape)
        return f"Examples({len(self)} of shape {shape}, {labels}{self.binarisation}, {self.device})"

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one example."""
        return self.values.shape[1:]

    @property
    def device(self) -> torch.device:
        """The device that holds the values."""
        return self.values.device

    def batch(self, index: Tensor | slice) -> Tensor:
        """The values `[batch, *event]` at `index`, gathered where they live and drawn for this use.

        A slice of floating values that are not drawn anew is a view of them: do not write to it.

        Args:
            index: int64 `[batch]` (on any device), bool `[N]`, or a slice.

        Raises:
            DataError: when `index` is not one of these, as the batch dimension would be lost.
        """
        return self.binarisation.draw(self.values[self._rows(index)])

    def draw(self) -> Tensor:
        """All the values `[N, *event]`, drawn for this use."""
        return self.batch(slice(None))

    def pieces(self, at_most: int | None = None) -> Iterator[Tensor]:
        """All the values in turn, drawn for this use, at most 2²³ numbers (or one example) at once:
        bytes that fill the memory are never floats all at the same time.

        Args:
            at_most: examples at once.

        >>> import torch
        >>> [piece.shape for piece in Examples(torch.zeros(3, 2**22)).pieces()]
        [torch.Size([2, 4194304]), torch.Size([1, 4194304])]
        """
        size = max(1, _NUMBERS_AT_ONCE // max(1, self.event_shape.numel()))
        size = size if at_most is None else min(size, at_most)
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))

    def take(self, index: Tensor | slice) -> Examples:
        """The examples at `index`, with their labels; what was prepared stays as it is.

        Args:
            index: as in `batch`.

        Raises:
            DataError: when `index` is none of these or selects no example.
        """
        rows = self._rows(index)
        labels = None if self.labels is None else self.labels[rows]
        return Examples(self.values[rows], labels, self.binarisation, prepared=True)

    def to(self, device: torch.device | str) -> Examples:
        """The same examples on `device`."""
        labels = None if self.labels is None else self.labels.to(device)
        return Examples(self.values.to(device), labels, self.binarisation, prepared=True)

    def _rows(self, index: Tensor | slice) -> Tensor | slice:
        if isinstance(index, slice):
            return index
        if isinstance(index, Tensor) and index.ndim == 1:
            return index.to(self.device)
        raise mismatch(
            "a slice or an index tensor of shape [batch]",
            f"shape {list(index.shape)}" if isinstance(index, Tensor) else f"{index!r}",
            "Index one example as slice(i, i + 1).",
        )


def _check_shape(values: Tensor) -> None:
    if values.ndim == 0 or values.shape[0] == 0:
        raise mismatch(
            "values of shape [N, *event] with at least one example",
            f"shape {list(values.shape)}",
            "Check the selection or the file that they come from.",
        )


def _check_numbers(values: Tensor) -> None:
    if values.dtype == torch.uint8:
        return
    if not values.is_floating_point():
        raise mismatch(
            "bytes (uint8) or floating values",
            values.dtype,
            "Convert them with .to(torch.float32).",
        )
    if not values.isfinite().all():
        raise _not_finite(values)


def _not_finite(values: Tensor) -> DataError:
    rows = values.isfinite().logical_not().reshape(len(values), -1).any(dim=1)
    count, first = int(rows.sum()), int(rows.int().argmax())
    return mismatch(
        "finite values",
        f"NaN or infinity in {count} of {len(rows)} examples (first at {first})",
        "Remove these examples or replace the values.",
    )


def _check_labels(labels: Tensor, values: Tensor) -> None:
    expected = (torch.int64, values.shape[:1], values.device)
    got = (labels.dtype, labels.shape, labels.device)
    if expected != got:
        raise mismatch(
            "one label for each example: {} {} on {}".format(*_readable(*expected)),
            "{} {} on {}".format(*_readable(*got)),
            "Convert the labels, or leave them out.",
        )


def _readable(dtype: torch.dtype, shape: torch.Size, device: torch.device) -> tuple[object, ...]:
    return dtype, list(shape), device
