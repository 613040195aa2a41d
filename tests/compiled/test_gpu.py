"""Compiled steps on a GPU: captured as CUDA graphs, and the same as eager ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_vae import ELBO, IWAE, NonFiniteError, fit, fit_many
from pyro_vae.data import Dynamic, Examples
from pyro_vae.training import CompiledSVI, adam
from tests.compiled.pairs import small_vae, weights
from tests.training.pairs import small_vae as digits_vae
from tests.training.pairs import some_digits

pytestmark = pytest.mark.gpu


def run(compile: bool, objective: Any = None, **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
    grey = torch.rand(40, 6, generator=torch.Generator().manual_seed(5))
    batches = torch.arange(80).remainder(40).view(10, 8).cuda()
    vae = small_vae(dropout=0.3).cuda()
    svi = CompiledSVI(
        vae.model,
        vae.guide,
        torch.optim.Adam(vae.parameters(), lr=1e-2),
        ELBO() if objective is None else objective,
        compile=compile,
        **options,
    )
    data = Examples(grey, binarisation=Dynamic()).to("cuda")
    torch.manual_seed(0)
    losses = [svi.run(data, batches) for _ in range(2)]
    assert svi.compiled is compile
    return torch.cat(losses), weights(vae)


@pytest.mark.parametrize("objective", [ELBO, partial(IWAE, 5)])
def test_replayed_graphs_are_eager_steps(objective: Any) -> None:
    losses, got = run(True, objective())
    expected, eager = run(False, objective())
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)
    for name, value in eager.items():
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=1e-4)
    assert losses.unique().numel() == len(losses)


def test_steps_on_batches_from_elsewhere() -> None:
    vae = small_vae().cuda()
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
    svi = CompiledSVI(vae.model, vae.guide, optimizer, ELBO(200))
    x, y = (torch.full((8, 6), value, device="cuda") for value in (0.0, 1.0))
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        next(reversed(list(vae.likelihood.parameters()))).fill_(3.0)  # p(1) = 0.95 a pixel
    svi.step(x)
    optimizer.param_groups[0]["lr"] = 0.0
    at_zeros, at_ones = (svi.step(batch).item() for batch in (x, y))
    assert at_zeros > at_ones + 8 * 6 * 2.5
    assert (x == 0).all()


def test_a_nan_is_found() -> None:
    vae = small_vae().cuda()
    svi = CompiledSVI(vae.model, vae.guide, torch.optim.SGD(vae.parameters(), lr=1e-3), ELBO())
    x = torch.zeros(8, 6, device="cuda")
    for _ in range(3):
        svi.step(x)
    before = weights(vae)
    x[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"step 4: .* log p\(x"):
        svi.step(x)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


def test_fit_and_fit_many() -> None:
    options = {"epochs": 3, "batch_size": 100, "optimizer": adam(1e-2), "progress": False}
    data = some_digits()
    many = fit_many(digits_vae, [0, 1], data, device="cuda", **options)
    for member in many:
        alone = digits_vae(member.seed)
        history = fit(
            alone,
            data,
            seed=member.seed,
            device="cuda",
            compile=True,
            checkpoint_every=2,
            **options,
        )
        assert member.history["bound"] == pytest.approx(history["bound"], rel=1e-4)
