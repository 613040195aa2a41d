"""One step of stochastic variational inference as Pyro runs it: every handler in Python."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from pyro_vae._errors import NonFiniteError, PairError
from pyro_vae._modes import random_state, set_random_state
from pyro_vae.objectives import Objective, run_particles
from pyro_vae.training.compiled.precision import products_in_bfloat16
from pyro_vae.training.compiled.programs import modules_of
from pyro_vae.training.non_finite import term_of_bound, term_of_gradient

__all__ = ["Eager", "no_gradient"]

Program = Callable[..., Any]


def no_gradient() -> ValueError:
    """For an optimizer whose parameters the loss does not depend on."""
    return ValueError(
        "optimizer: expected the parameters that the model and the guide use; got others, none of "
        "which has a gradient. Make the optimizer of this pair's parameters; "
        "pyro.clear_param_store() if others of the same names are in Pyro's store; and for an "
        "objective of Pyro's own, name the networks with pyro.module."
    )


class Eager:
    """Steps in eager mode, each checked for NaN and infinity before the weights are touched.

    Args:
        model, guide: a Pyro pair.
        optimizer: over its parameters.
        objective: a ``pyro.infer.ELBO``.
        clip_norm: the largest norm of the gradient.
        per_datum: the gradient is that of the loss divided by the length of the first argument.
        bfloat16: products of matrices in bfloat16.
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        optimizer: Optimizer,
        objective: Any,
        clip_norm: float | None,
        per_datum: bool,
        bfloat16: bool,
    ) -> None:
        self.model, self.guide = model, guide
        self.optimizer, self.objective = optimizer, objective
        self.clip_norm, self.per_datum, self.bfloat16 = clip_norm, per_datum, bfloat16

    @property
    def parameters(self) -> list[Tensor]:
        """Those of the optimizer, in its order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def differentiate(
        self, model: Program, guide: Program, *args: Any, count: int = 1, **kwargs: Any
    ) -> Tensor:
        """The loss of the pair, given as it is to be called. Its gradient — divided by ``count``,
        for an objective of this library — is added to the parameters'."""
        with products_in_bfloat16(self.bfloat16):
            if isinstance(self.objective, Objective):
                loss = self.objective.differentiable_loss(model, guide, *args, **kwargs)
                (loss / count).backward()
                return loss.detach()
            # What all of Pyro's have; RenyiELBO has nothing else.
            loss = self.objective.loss_and_grads(model, guide, *args, **kwargs)
            return torch.as_tensor(loss).detach()

    @torch.no_grad()
    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """The loss alone."""
        with products_in_bfloat16(self.bfloat16):
            if isinstance(self.objective, Objective):
                return self.objective.differentiable_loss(model, guide, *args, **kwargs)
            return torch.as_tensor(self.objective.loss(model, guide, *args, **kwargs))

    def step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Update the parameters; the loss before that.

        Raises:
            NonFiniteError: a NaN or infinity, with its term; nothing was updated.
            ValueError: a loss that depends on none of the parameters.
        """
        self.optimizer.zero_grad()
        random = random_state(self.parameters[0].device)
        loss = self._loss_and_gradient(*args, **kwargs)
        if not math.isfinite(loss.item()):
            set_random_state(self.parameters[0].device, random)
            raise NonFiniteError(self._term_of_loss(*args, **kwargs))
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if not gradients:
            raise no_gradient()
        norm = get_total_norm(gradients)
        if not norm.isfinite():
            raise NonFiniteError(term_of_gradient(self._named_parameters()))
        if self.clip_norm is not None:
            clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        self.optimizer.step()
        return loss

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """The term of the loss or the gradient that is not finite; parameters stay as they are."""
        with pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pyro: what it would warn of is told here
            return self._explain(*args, **kwargs)

    def _explain(self, *args: Any, **kwargs: Any) -> str:
        self.optimizer.zero_grad()
        random = random_state(self.parameters[0].device)
        if not math.isfinite(self._loss_and_gradient(*args, **kwargs).item()):
            set_random_state(self.parameters[0].device, random)
            return self._term_of_loss(*args, **kwargs)
        return term_of_gradient(self._named_parameters())

    def _loss_and_gradient(self, *args: Any, **kwargs: Any) -> Tensor:
        count = len(args[0]) if self.per_datum else 1
        loss = self.differentiate(self.model, self.guide, *args, count=count, **kwargs)
        if not isinstance(self.objective, Objective):
            for gradient in (p.grad for p in self.parameters if p.grad is not None):
                gradient.div_(count)
        return loss

    def _term_of_loss(self, *args: Any, **kwargs: Any) -> str:
        ours = isinstance(self.objective, Objective)
        run = self.objective.particles if ours else run_particles
        try:
            with torch.no_grad(), products_in_bfloat16(self.bfloat16):
                return term_of_bound(run(self.model, self.guide, *args, **kwargs))
        except PairError:  # a pair for an objective of Pyro's own, which ours refuse
            return "the loss"

    def _named_parameters(self) -> list[tuple[str, Tensor]]:
        programs = {"model": self.model, "guide": self.guide}
        return [
            (f"{program}.{name}", parameter)
            for program, function in programs.items()
            for module in modules_of(function)
            for name, parameter in module.named_parameters()
        ]
