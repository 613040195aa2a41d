"""A training loop in plain PyTorch: eager, with its loss under ``torch.compile``, and captured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from experiments.speed.cases import LEARNING_RATE, VARIANCE, Case
from experiments.speed.contenders._contender import Batches, Contender, LeftOut
from experiments.speed.contenders.networks import first_batch, mlp
from experiments.speed.inputs import Inputs

__all__ = ["Captured", "Compiled", "Eager"]


class Loss(nn.Module):
    """Minus the bound, summed over a batch: what one would write for this model alone."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        super().__init__()
        self.pixels = case.pixels
        self.encoder = mlp(case, inputs, "encoder")
        self.decoder = mlp(case, inputs, "decoder")

    def forward(self, data: Tensor, index: Tensor, noise: Tensor) -> Tensor:
        """``noise`` is standard normal, [batch, latent] or [particles, batch, latent]."""
        x = data.index_select(0, index)
        mean, raw_scale = self.encoder(x).chunk(2, -1)
        scale = softplus(raw_scale)
        z = mean + scale * noise
        if noise.dim() == 2:
            kl = 0.5 * (z.square() - noise.square()).sum() - scale.log().sum()
            return kl + self.negative_log_likelihood(x, z).sum()
        log_ratio = 0.5 * (noise.square() - z.square()).sum(-1) + scale.log().sum(-1)
        log_weight = log_ratio - self.negative_log_likelihood(x, z).sum(-1)
        return (math.log(len(noise)) - log_weight.logsumexp(0)).sum()

    def negative_log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """−log p(x|z) of each value."""
        output = self.decoder(z)
        if self.pixels:
            x = x.expand_as(output)
            return binary_cross_entropy_with_logits(output, x, reduction="none")
        constant = 0.5 * math.log(2 * math.pi * VARIANCE)
        return (x - output).square() * (0.5 / VARIANCE) + constant


class Eager(Contender):
    """Fused Adam, no number read back in the loop."""

    note = "Written for this model alone: the KL simplified, fused Adam, no `.item()` in the loop."

    def __init__(self, case: Case, inputs: Inputs, device: str) -> None:
        if case.flows:
            raise LeftOut("the flows are Pyro's")
        torch.manual_seed(0)
        self._case, self._device = case, device
        self._data = torch.from_numpy(inputs.data).to(device)
        self._module = Loss(case, inputs).to(device)
        particles = () if case.particles == 1 else (case.particles,)
        self._noise_shape = (*particles, case.batch, case.latent)
        self._optimizer = self._adam()
        self._loss: Callable[..., Any] = self._module

    def _adam(self) -> torch.optim.Adam:
        return torch.optim.Adam(self._module.parameters(), lr=LEARNING_RATE, fused=True)

    def first_call(self) -> None:
        self.loss_samples(2)

    def loss_samples(self, count: int) -> list[float]:
        self._set_learning_rate(0.0)
        batches = first_batch(self._case, count).to(self._device)
        losses = [self._step(index).clone() for index in batches]
        self._set_learning_rate(LEARNING_RATE)
        return torch.stack(losses).tolist()

    def steps(self, batches: Batches) -> None:
        for index in torch.from_numpy(batches).to(self._device):
            self._step(index)

    def _step(self, index: Tensor) -> Tensor:
        """The loss before the update."""
        loss = self._loss(self._data, index, self._noise())
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def _noise(self) -> Tensor:
        return torch.randn(self._noise_shape, device=self._device)

    def _set_learning_rate(self, value: float) -> None:
        [group] = self._optimizer.param_groups
        group["lr"] = value


class Compiled(Eager):
    """The loss under ``torch.compile``. The noise comes from outside, where it is drawn faster."""

    note = (
        "The same with its loss, the gathering of the batch in it, under `torch.compile` (mode "
        "“default”). The noise is drawn outside, which is faster."
    )

    def __init__(self, case: Case, inputs: Inputs, device: str) -> None:
        super().__init__(case, inputs, device)
        self._loss = torch.compile(self._module)


class Captured(Eager):
    """The whole eager step captured once in a CUDA graph, then replayed."""

    note = (
        "The same with its whole step, capturable fused Adam included, captured once in a "
        "`torch.cuda.CUDAGraph` and replayed."
    )

    def __init__(self, case: Case, inputs: Inputs, device: str) -> None:
        super().__init__(case, inputs, device)
        if not device.startswith("cuda"):
            raise LeftOut("CUDA only")
        self._index = first_batch(case, 1)[0].to(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._captured_loss = torch.zeros((), device=device)

    def _adam(self) -> torch.optim.Adam:
        return torch.optim.Adam(
            self._module.parameters(),
            lr=torch.tensor(LEARNING_RATE, device=self._device),
            fused=True,
            capturable=True,
        )

    def _step(self, index: Tensor) -> Tensor:
        if self._graph is None:
            self._graph = self._capture()
        self._index.copy_(index)
        self._graph.replay()
        return self._captured_loss

    def _set_learning_rate(self, value: float) -> None:
        [group] = self._optimizer.param_groups
        group["lr"].fill_(value)

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Warm up on a side stream, as torch's notes on CUDA have it, then record one step.

        The first call is at a learning rate of zero, so that the weights stay.
        """
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                super()._step(self._index)
        torch.cuda.current_stream().wait_stream(side)
        # Without gradients before the capture, each replay writes them instead of adding.
        self._optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._captured_loss = self._captured_step()
        return graph

    def _captured_step(self) -> Tensor:
        loss = self._loss(self._data, self._index, self._noise())
        loss.backward()
        self._optimizer.step()
        return loss.detach()
