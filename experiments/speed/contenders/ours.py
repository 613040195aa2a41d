"""This library: a step recorded and compiled, many steps a call; and the same in eager mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pyro
import torch
from torch import nn

from experiments.speed.cases import LEARNING_RATE, VARIANCE, Case, networks
from experiments.speed.contenders._contender import Batches, Contender
from experiments.speed.contenders.networks import filled, first_batch
from experiments.speed.contenders.pairs import FlowPair
from experiments.speed.inputs import Inputs
from pyro_vae import (
    ELBO,
    IWAE,
    VAE,
    BernoulliLikelihood,
    FixedVariance,
    NormalGuide,
    NormalLikelihood,
    StandardNormalPrior,
    adam,
)
from pyro_vae.data import Examples
from pyro_vae.nn import MLP
from pyro_vae.training import CompiledSVI

__all__ = ["Compiled", "Eager"]


_STILL = 1e-30  # a learning rate that changes no weight; torch's capturable Adam divides by it


class Compiled(Contender):
    """``CompiledSVI.run``. With flows, on the pair that stock Pyro is given, unmodified."""

    note = "`CompiledSVI.run`, many steps a call. It looks for NaN and infinity at every step."
    _compile: ClassVar[bool] = True

    def __init__(self, case: Case, inputs: Inputs, device: str) -> None:
        pyro.enable_validation(False)
        torch.manual_seed(0)
        module, model, guide = _pair(case, inputs)
        self._case = case
        self._optimizer = adam(LEARNING_RATE)(module.to(device).parameters())
        self._svi = CompiledSVI(
            model,
            guide,
            self._optimizer,
            ELBO() if case.particles == 1 else IWAE(case.particles),
            compile=self._compile,
        )
        self._data = Examples(torch.from_numpy(inputs.data)).to(device)

    def first_call(self) -> None:
        self.loss_samples(2)  # the first of all steps is eager, the second one compiles
        if self._svi.compiled != self._compile:
            raise RuntimeError("expected a compiled step; got a fall back to eager mode")

    def loss_samples(self, count: int) -> list[float]:
        [group] = self._optimizer.param_groups
        group["lr"] = _STILL
        losses = self._svi.run(self._data, self._batches(first_batch(self._case, count)))
        group["lr"] = LEARNING_RATE
        return losses.tolist()

    def steps(self, batches: Batches) -> None:
        self._svi.run(self._data, self._batches(torch.from_numpy(batches)))

    def _batches(self, batches: torch.Tensor) -> torch.Tensor:
        return batches.to(self._data.device)


class Eager(Compiled):
    """``CompiledSVI`` with ``compile=False``: Pyro's handlers in Python at every step."""

    note = "`CompiledSVI(compile=False).run`."
    _compile = False


def _pair(case: Case, inputs: Inputs) -> tuple[nn.Module, Callable[..., Any], Callable[..., Any]]:
    """What has the parameters, the model and the guide."""
    if case.flows:
        pair = FlowPair(case, inputs)
        return pair, pair.model, pair.guide
    encoder, decoder = (_network(case, inputs, name) for name in ("encoder", "decoder"))
    vae = VAE(
        prior=StandardNormalPrior(case.latent),
        likelihood=(
            BernoulliLikelihood(decoder)
            if case.pixels
            else NormalLikelihood(decoder, FixedVariance(VARIANCE))
        ),
        guide=NormalGuide(encoder),
    )
    return vae, vae.model, vae.guide


def _network(case: Case, inputs: Inputs, name: str) -> MLP:
    size_in, *hidden, size_out = networks(case)[name]
    return filled(MLP(size_in, hidden, size_out), inputs, name)
