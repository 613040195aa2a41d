"""Pyro's own ``SVI``, written as in its tutorial on variational autoencoders."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro.infer import SVI, JitTrace_ELBO, RenyiELBO, Trace_ELBO
from pyro.optim import Adam

from experiments.speed.cases import LEARNING_RATE, Case
from experiments.speed.contenders._contender import Batches, Contender, LeftOut
from experiments.speed.contenders.networks import first_batch
from experiments.speed.contenders.pairs import FlowPair, Pair
from experiments.speed.inputs import Inputs

__all__ = ["Jit", "Stock"]


class Stock(Contender):
    """``SVI.step`` with ``Trace_ELBO``, or ``RenyiELBO(alpha=0)`` for several particles."""

    note = (
        "`SVI.step` with `pyro.optim.Adam`; validation off, as the tutorial has it, and the "
        "particles vectorised."
    )

    def __init__(self, case: Case, inputs: Inputs, device: str) -> None:
        pyro.enable_validation(False)
        pyro.clear_param_store()
        torch.manual_seed(0)
        pair = (FlowPair if case.flows else Pair)(case, inputs).to(device)
        # Taken once: the JIT knows a model by its id, and each access makes another bound method.
        model, guide, objective = pair.model, pair.guide, self._objective(case)
        self._svi = SVI(model, guide, Adam({"lr": LEARNING_RATE}), objective)
        self._still = SVI(model, guide, Adam({"lr": 0.0}), objective)
        self._data = torch.from_numpy(inputs.data).to(device)
        self._batch = self._data[first_batch(case, 1)[0].to(device)]

    def _objective(self, case: Case) -> Any:
        if case.particles == 1:
            return Trace_ELBO(max_plate_nesting=1)
        return RenyiELBO(
            alpha=0, num_particles=case.particles, max_plate_nesting=1, vectorize_particles=True
        )

    def first_call(self) -> None:
        self.loss_samples(2)

    def loss_samples(self, count: int) -> list[float]:
        return [self._still.step(self._batch) for _ in range(count)]

    def steps(self, batches: Batches) -> None:
        for index in torch.from_numpy(batches).to(self._data.device):
            self._svi.step(self._data.index_select(0, index))


class Jit(Stock):
    """The same with ``JitTrace_ELBO``."""

    note = "`SVI.step` with `JitTrace_ELBO`; else as Pyro SVI."

    def _objective(self, case: Case) -> Any:
        if case.particles > 1:
            raise LeftOut("Pyro has no jitted RenyiELBO")
        if case.flows:
            raise LeftOut("with flows, stock SVI stands for Pyro")
        return JitTrace_ELBO(max_plate_nesting=1, ignore_jit_warnings=True)
