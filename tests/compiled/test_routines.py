"""The choice between routines for large products: once, kept, and right whatever it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor import compile as compile_graph
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.training.compiled import routines
from pyro_vae.training.compiled.products import ProductsApart
from pyro_vae.training.compiled.routines import ROUTINES, Routines

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


class Always(Routines):
    """One routine for all."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fastest(self, a: Tensor, b: Tensor) -> str:
        assert routines._onednn_is_there()
        return self.name


def matrices(*shape: int, **options: Any) -> tuple[Tensor, Tensor]:
    rows, inner, columns = shape
    return torch.randn(rows, inner, **options), torch.randn(inner, columns, **options)


@needs_onednn
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's, of its own code
def test_every_routine_gives_the_product_for_every_layout_in_a_compiled_graph() -> None:
    def products(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        hidden = (a @ b).relu()  # [9, 7]
        return [hidden, hidden @ c.t(), hidden.t() @ a, (hidden + 1).t() @ a[:, 2:]]

    torch.manual_seed(0)
    inputs = [torch.randn(9, 8), torch.randn(8, 7), torch.randn(6, 7)]
    for name in ROUTINES:
        graph = make_fx(products)(*inputs)
        for node in graph.graph.nodes:
            node.meta.pop("val", None)
        options = {"cpp_wrapper": True, "post_grad_custom_post_pass": ProductsApart(Always(name))}
        with torch.no_grad():
            run = compile_graph(graph, inputs, options=options | {"force_disable_caches": True})
            found = run(*inputs)
        for got, expected in zip(found, products(*inputs), strict=True):
            torch.testing.assert_close(got, expected)


@needs_onednn
def test_a_large_product_is_tried_once_and_the_choice_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = matrices(200, 200, 200)
    path = tmp_path / "routines.json"
    first = Routines(path).fastest(*large)
    assert first in ROUTINES
    assert list(json.loads(path.read_text()).values()) == [first]
    monkeypatch.setattr(routines, "_tried", None)
    assert Routines(path).fastest(*large) == first


@needs_onednn
@pytest.mark.parametrize(("seconds", "chosen"), [(0.9, "onednn"), (0.97, "blas"), (2.0, "blas")])
def test_another_routine_has_to_be_faster_by_more_than_chance(
    seconds: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {ROUTINES["blas"]: 1.0, ROUTINES["onednn"]: seconds}
    monkeypatch.setattr(routines, "_seconds", lambda multiply, a, b: taken[multiply])
    assert routines._tried(*matrices(2, 2, 2)) == chosen


@pytest.mark.parametrize(
    "operands", [matrices(20, 20, 20), matrices(200, 200, 200, dtype=torch.float64)]
)
def test_small_and_double_products_are_not_tried(
    operands: tuple[Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routines, "_tried", None)
    assert Routines(tmp_path / "routines.json").fastest(*operands) == "blas"


@needs_onednn
@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[]"])
def test_a_damaged_file_is_made_anew(text: str, tmp_path: Path) -> None:
    path = tmp_path / "routines.json"
    path.write_text(text)
    name = Routines(path).fastest(*matrices(200, 200, 200))
    assert name in json.loads(path.read_text()).values()


@needs_onednn
def test_a_folder_that_cannot_be_written_costs_a_trial(tmp_path: Path) -> None:
    name = Routines(tmp_path / "nowhere" / "routines.json").fastest(*matrices(200, 200, 200))
    assert name in ROUTINES
