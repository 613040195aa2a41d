"""Products in bfloat16: they, and nothing else, are rounded; compiled as in eager mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.nn import functional

from pyro_vae import ELBO, fit
from pyro_vae.training import CompiledSVI, adam
from pyro_vae.training.compiled import replay
from pyro_vae.training.compiled.precision import products_in_bfloat16
from tests.compiled.pairs import small_vae, weights
from tests.training.pairs import small_vae as digits_vae
from tests.training.pairs import some_digits


def rounded(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).to(x.dtype)


PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda a, b: functional.linear(a, b.t()),
    "matmul": torch.matmul,
    "operator": lambda a, b: a @ b,
    "mm": lambda a, b: a.mm(b),
    "addmm": lambda a, b: torch.addmm(torch.zeros(b.shape[1]), a, b),
    "bmm": lambda a, b: torch.bmm(a[None], b[None])[0],
    "einsum": lambda a, b: torch.einsum("ij,jk->ik", a, b),
    "conv1d": lambda a, b: functional.conv1d(a[:, :, None], b.t()[:, :, None])[:, :, 0],
}


@pytest.mark.parametrize("name", list(PRODUCTS))
def test_a_product_is_one_of_rounded_numbers_in_float32(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(7, 5, generator=generator), torch.randn(5, 3, generator=generator)
    with products_in_bfloat16():
        got = PRODUCTS[name](a, b)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, rounded(rounded(a) @ rounded(b)), rtol=1e-2, atol=1e-3)
    assert torch.equal(got, rounded(got))
    assert not torch.equal(got, PRODUCTS[name](a, b))


def test_what_is_no_product_and_what_is_in_float64_stays_as_it_is() -> None:
    x = torch.rand(7, 5, generator=torch.Generator().manual_seed(0))
    with products_in_bfloat16():
        assert torch.equal(x * x + x.sum().log(), x * x + x.sum().log())
        assert x.exp().dtype == torch.float32
        assert torch.equal(x.double() @ x.double().t(), (x.double() @ x.double().t()))
    with products_in_bfloat16(False):
        assert not torch.equal(x @ x.t(), rounded(x @ x.t()))


class Seen(nn.Module):
    """A pair that keeps the precision of what its distributions are given."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 2), nn.Linear(2, 6)
        self.dtypes: set[torch.dtype] = set()

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            location = self.decoder(z)
            self.dtypes |= {z.dtype, location.dtype}
            pyro.sample("x", dist.Normal(location, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            location = self.encoder(x)
            self.dtypes |= {location.dtype}
            pyro.sample("z", dist.Normal(location, 0.5).to_event(1))


def test_samples_and_densities_are_in_float32() -> None:
    pair = Seen()
    x = torch.rand(8, 6)
    optimizer = torch.optim.Adam(pair.parameters())
    svi = CompiledSVI(pair.model, pair.guide, optimizer, Trace_ELBO(), bfloat16=True, compile=False)
    assert svi.step(x).dtype == torch.float32
    assert pair.dtypes == {torch.float32}
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in pair.parameters())


def steps(bfloat16: bool, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(5)).round()
    vae = small_vae(dropout=0.3)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
    svi = CompiledSVI(vae.model, vae.guide, optimizer, ELBO(), bfloat16=bfloat16, **options)
    torch.manual_seed(0)
    losses = svi.run(x, torch.arange(80).remainder(40).view(10, 8))
    torch.manual_seed(1)
    return torch.cat([losses, svi.evaluate(x)[None]]), weights(vae)


@pytest.mark.parametrize("options", [{}, {"backend": replay}], ids=["fused", "recorded"])
def test_compiled_steps_are_those_of_eager_mode(options: dict[str, Any]) -> None:
    """Up to what a fused sum, rounded to bfloat16, differs by: 2⁻⁸ of it."""
    losses, got = steps(True, **options)
    expected, eager = steps(True, compile=False)
    torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-3)
    for name, value in eager.items():
        torch.testing.assert_close(got[name], value, rtol=3e-2, atol=3e-3)
    full, _ = steps(False, compile=False)
    assert not torch.allclose(expected, full, rtol=1e-6)
    torch.testing.assert_close(expected, full, rtol=3e-2, atol=0.0)


def test_fit_takes_it() -> None:
    def bound(bfloat16: bool) -> float:
        options: dict[str, Any] = {"epochs": 3, "batch_size": 40, "optimizer": adam(1e-2)}
        history = fit(digits_vae(), some_digits(), bfloat16=bfloat16, progress=False, **options)
        return history["bound"][-1]

    assert bound(True) != bound(False)
    assert bound(True) == pytest.approx(bound(False), rel=1e-2)
