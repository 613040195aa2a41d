"""Which routine multiplies two large matrices on a processor: the faster here, found by trying."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._inductor.runtime.runtime_utils import cache_dir

__all__ = ["ROUTINES", "Routines"]

aten = torch.ops.aten

_LARGE = 1 << 22  # multiplications: below, the call of oneDNN takes longer than the product
_BLOCK = 2e-3  # seconds: long enough for the clock
_ROUNDS = 5
_GAIN = 0.95  # of the plain routine's time: what another one has to be below


# -- oneDNN's, as an operation that takes operands in any layout ----------------------------------

_library = torch.library.Library("pyro_vae", "DEF")
_library.define("onednn_product(Tensor a, Tensor b) -> Tensor")


def _as_linear_layer(a: Tensor, b: Tensor) -> Tensor:
    linear: Any = torch.ops.mkldnn._linear_pointwise.default
    return linear(a, b.t(), None, "none", [], "")


_library.impl("onednn_product", _as_linear_layer, "CPU")
_library.impl("onednn_product", lambda a, b: a.new_empty(a.shape[0], b.shape[1]), "Meta")


@cache
def _onednn_is_there() -> bool:
    """Whether TorchInductor can call it from C++: it knows such layers for constant weights alone,
    whose operands it copies, so it is told of ours."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        from torch._inductor import ir, mkldnn_ir
        from torch._inductor.lowering import lowerings, register_lowering

        kind, output = mkldnn_ir.LinearUnary, mkldnn_ir._create_output_node
    except (ImportError, AttributeError):
        return False

    def lowered(a: Any, b: Any) -> Any:
        x = ir.ExternKernel.realize_input(a)
        weight = ir.ExternKernel.realize_input(lowerings[aten.permute.default](b, [1, 0]))
        size = [x.get_size()[0], weight.get_size()[0]]
        layout = ir.FixedLayout(x.get_device_or_error(), x.get_dtype(), size)
        no_bias_and_activation = [None, "none", [-1], ""]
        packed = kind(layout, [x, weight], no_bias_and_activation)
        return ir.TensorBox.create(output(packed))

    register = register_lowering(ROUTINES["onednn"], type_promotion_kind=None)
    register(lowered)
    return True


ROUTINES: Mapping[str, Any] = {
    "blas": aten.mm.default,  # the BLAS that torch was built with
    "onednn": torch.ops.pyro_vae.onednn_product.default,
}
"""Name → operation of two matrices."""

_PLAIN = "blas"


# -- the choice -----------------------------------------------------------------------------------


class Routines:
    """The fastest routine by the operands' shapes and layouts, from a file and from trials.

    Args:
        path: the file; by default beside TorchInductor's cache. A machine multiplies in the same
            way from one trial on, and a resumed run as it did before.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = Path(cache_dir()) / "pyro_vae_routines.json" if path is None else path
        self._found: dict[str, str] = {}
        with suppress(OSError, ValueError):  # no file yet, or a damaged one
            self._found = dict(json.loads(self._path.read_text(encoding="utf-8")))

    def fastest(self, a: Tensor, b: Tensor) -> str:
        """One of ``ROUTINES`` for matrices like these, which need no values."""
        large = a.shape[0] * a.shape[1] * b.shape[1] >= _LARGE
        if not (large and a.dtype == torch.float32 and _onednn_is_there()):
            return _PLAIN
        key = _key(a, b)
        if self._found.get(key) not in ROUTINES:
            self._found[key] = _tried(_like(a), _like(b))
            self._save()
        return self._found[key]

    def _save(self) -> None:
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):  # a folder that cannot be written: tried anew the next time
            temporary.write_text(json.dumps(self._found, indent=1), encoding="utf-8")
            temporary.replace(self._path)


def _key(a: Tensor, b: Tensor) -> str:
    """What a routine's time depends on."""
    shapes = " times ".join(f"{list(m.shape)} by {list(m.stride())}" for m in (a, b))
    return f"{shapes}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _like(matrix: Tensor) -> Tensor:
    """Random numbers in the shape and layout of a matrix without storage."""
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        found = torch.empty_strided(matrix.shape, matrix.stride(), dtype=matrix.dtype)
        return found.normal_(generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _tried(a: Tensor, b: Tensor) -> str:
    """The routine whose fastest block is the fastest; the plain one, if it is nearly that."""
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        seconds = dict.fromkeys(ROUTINES, float("inf"))
        for _ in range(_ROUNDS):
            for name, multiply in ROUTINES.items():
                seconds[name] = min(seconds[name], _seconds(multiply, a, b))
    seconds[_PLAIN] *= _GAIN
    return min(seconds, key=seconds.__getitem__)


def _seconds(multiply: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> float:
    """Of one call, from a block of them."""
    calls, taken, start = 0, 0.0, time.perf_counter()
    while taken < _BLOCK:
        multiply(a, b)
        calls, taken = calls + 1, time.perf_counter() - start
    return taken / calls
