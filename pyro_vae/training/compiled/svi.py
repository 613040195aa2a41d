from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.optim import Optimizer

from pyro_vae._errors import NonFiniteError, ShapeError
from pyro_vae._modes import random_state, set_random_state
from pyro_vae.data import Examples
from pyro_vae.training.compiled.backends import Backend, inductor
from pyro_vae.training.compiled.calls import Call, Source
from pyro_vae.training.compiled.compiler import Compiler, NoStateError
from pyro_vae.training.compiled.eager import Eager
from pyro_vae.training.compiled.programs import UntraceableError, modules_of, restored

__all__ = ["CompiledSVI"]

Program = Callable[..., Any]


class CompiledSVI:
    """Stochastic variational inference whose whole step is one compiled graph.

    Pyro's handlers run the model, the guide and the objective in Python at each step. Here they
    run once: the tensor operations of loss, gradient, clipping and the optimizer's update are
    recorded, fused by a compiler, and from then on the graph runs alone — for any model/guide pair
    whose operations do not depend on values, unmodified. Random numbers are drawn anew at each
    step and are those of eager mode on the same seed.

    A change of learning rate, of an objective's ``beta``, of a float among the arguments, or of
    the values of any tensor does not compile anew; another batch size, a module's mode, or a plain
    number that the programs read does, once for each value. A pair that cannot be recorded runs
    eagerly, with one warning that tells the site and the reason.

    The parameters' and the optimizer's tensors become parts of larger ones, which one kernel
    updates. They keep their names, shapes and places in ``state_dict``. The very first step of an
    optimizer runs eagerly and makes its state.

    Args:
        model, guide: a Pyro pair: modules, bound methods or functions.
        optimizer: of ``torch.optim``, over the pair's parameters. Adam, AdamW, SGD, RMSprop and
            the others that update each element by itself are compiled.
        objective: an objective of this library or of ``pyro.infer`` (``Trace_ELBO``,
            ``TraceMeanField_ELBO``, ``RenyiELBO``, …).
        clip_norm: the largest norm of the gradient; a longer one is scaled to it.
        per_datum: differentiate the loss divided by the length of the first argument, instead of
            the sum over the batch. The loss reported is the sum in any case.
        bfloat16: multiply matrices and convolve in bfloat16, as fast GPUs and some processors do;
            parameters, activations, samples and log-probabilities stay in float32.
        compile: ``False`` runs every step eagerly.
        backend: carries out the recorded graph; TorchInductor by default.

    Raises:
        TypeError: an optimizer that is not of ``torch.optim``.

    >>> import pyro_vae
    >>> pair = pyro_vae.testing.linear_gaussian()
    >>> optimizer = torch.optim.Adam(pair.parameters(), lr=1e-3)
    >>> svi = CompiledSVI(pair.model, pair.guide, optimizer, pyro_vae.ELBO(), compile=False)
    >>> svi.run(pair.x, 100, batch_size=10).shape  # the loss of each step
    torch.Size([100])
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        optimizer: Any,
        objective: Any,
        *,
        clip_norm: float | None = None,
        per_datum: bool = False,
        bfloat16: bool = False,
        compile: bool = True,
        backend: Backend = inductor,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"optimizer: expected one of torch.optim; got {type(optimizer).__name__}. Pass "
                "e.g. torch.optim.Adam(parameters, lr=1e-3)."
            )
        self._eager = Eager(model, guide, optimizer, objective, clip_norm, per_datum, bfloat16)
        self._modules = modules_of(model, guide)
        self._known = self._parameters()
        self.compiler = Compiler(self._eager, backend) if compile else None
        self._first: list[Tensor] | None = None
        self._steps = 0

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer it was made with."""
        return self._eager.optimizer

    @property
    def compiled(self) -> bool:
        """Whether steps run compiled: not with ``compile=False``, nor after a fall back."""
        return self.compiler is not None

    @property
    def compile_seconds(self) -> float:
        """The time spent recording and compiling so far."""
        return 0.0 if self.compiler is None else self.compiler.seconds

    def step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One update on a batch; the loss before it, in nats: a tensor, on the pair's device.

        Args:
            args, kwargs: what the model and the guide take; the first is the batch, [batch, …].

        Raises:
            ShapeError: a batch of another dtype, or of another shape beyond its first dimension.
            RuntimeError: under ``torch.no_grad``, or for parameters the optimizer does not have.
            ValueError: an optimizer with none of the parameters that the pair uses.
            NonFiniteError: a NaN or infinity in the loss or gradient, with its term; the weights
                are those before the step.
        """
        call = Call.of(*args, **kwargs)
        [loss] = self._run(call, Source.given(call), [call.tensors])
        return loss

    def run(
        self,
        data: Tensor | Examples,
        steps: int | Tensor,
        *args: Any,
        batch_size: int | None = None,
        schedule: Any = None,
        **kwargs: Any,
    ) -> Tensor:
        """Many updates in one call, on batches of data that lie on the pair's device.

        Args:
            data: [data, *event]; batches are gathered, and binarised anew, inside the graph.
            steps: how many, on random batches — or the batches themselves: indices into the data,
                int64 [steps, batch].
            batch_size: data a step, for a number of steps; all data by default.
            schedule: a scheduler of torch's, stepped after each update.
            args, kwargs: what the model and the guide take after the batch.

        Returns:
            The loss of each step, in nats, [steps].

        Raises:
            NonFiniteError: looked for once, after the last step: a NaN or infinity at any of
                them, with the step and the term; the weights are those before that step.
            ShapeError, RuntimeError, ValueError: as :meth:`step`.
        """
        examples = data if isinstance(data, Examples) else Examples(data)
        batches = steps if isinstance(steps, Tensor) else _random(examples, steps, batch_size)
        with torch.random.fork_rng():
            call = Call.of(examples.batch(batches[0]), *args, **kwargs)
        others = call.tensors[1:]
        source = Source.gathered(examples, batches[0], others)
        inputs = [[examples.values, index, *others] for index in batches]
        return torch.stack(self._run(call, source, inputs, schedule))

    def evaluate(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss of a batch in nats, with nothing updated; arguments and errors as ``step``."""
        self._check(call := Call.of(*args, **kwargs))
        if self.compiler is not None:
            try:
                return self.compiler.loss(call)
            except UntraceableError as error:
                self._fall_back(error)
        return self._eager.loss(self._eager.model, self._eager.guide, *args, **kwargs)

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """The term of the loss or gradient that is not finite on a batch, with the random numbers
        that are next."""
        with restored(self._modules, self._eager.parameters):
            return self._eager.explain(*args, **kwargs)

    # -- steps --------------------------------------------------------------------------------

    def _run(
        self, call: Call, source: Source, inputs: list[list[Tensor]], schedule: Any = None
    ) -> list[Tensor]:
        self._check(call)
        losses: list[Tensor] = []
        while len(losses) < len(inputs):
            step = self._compiled_step(call, source)
            left = inputs[len(losses) :]
            if step is None:
                losses.append(self._eager_step(call, source, left[0]))
                _advance(schedule)
            else:
                losses += self._compiled_steps(step, call, source, left, schedule)
        return losses

    def _compiled_step(self, call: Call, source: Source) -> Callable[..., Tensor] | None:
        """``None`` for a step that runs eagerly."""
        if self.compiler is None:
            return None
        try:
            return self.compiler.step(call, source)
        except NoStateError:
            return None
        except UntraceableError as error:
            self._fall_back(error)
            return None

    def _compiled_steps(
        self,
        step: Callable[..., Tensor],
        call: Call,
        source: Source,
        inputs: list[list[Tensor]],
        schedule: Any,
    ) -> list[Tensor]:
        compiler = self.compiler
        assert compiler is not None
        random = random_state(self._device)
        losses = []
        for tensors in inputs:
            losses.append(step(*tensors))
            if schedule is not None:
                schedule.step()
                compiler.set_numbers(call.floats)
        if compiler.bad:
            # Where the loss or gradient was not finite, the loss that the graph returns is NaN.
            failed = int(torch.stack(losses).isnan().nonzero()[0])
            with restored(self._modules, self._eager.parameters):
                set_random_state(self._device, random)
                for tensors in inputs[:failed]:
                    step(*tensors)  # which, as `bad` is set, draws its random numbers alone
            compiler.bad.zero_()
            args, kwargs = call.rebuilt(source.make(*inputs[failed]), call.floats)
            self._stop(failed, self._eager.explain(*args, **kwargs))
        self._steps += len(losses)
        return losses

    def _eager_step(self, call: Call, source: Source, tensors: list[Tensor]) -> Tensor:
        args, kwargs = call.rebuilt(source.make(*tensors), call.floats)
        try:
            loss = self._eager.step(*args, **kwargs)
        except NonFiniteError as error:
            self._stop(0, str(error))
        self._steps += 1
        return loss.to(self._device)

    def _stop(self, after: int, term: str) -> NoReturn:
        self._steps += after
        error = NonFiniteError(
            f"step {self._steps + 1}: expected finite numbers; got a NaN or infinity in {term}. "
            "The weights are those before it. A lower learning rate, clip_norm= or a bounded "
            "variance often helps."
        )
        error.steps, error.term = after, term
        raise error from None

    def _fall_back(self, error: UntraceableError) -> None:
        self.compiler = None
        warnings.warn(
            f"CompiledSVI: expected a pair that becomes a fixed graph; got one that does not, "
            f"{error}. It runs in eager mode. compile=False says so without this warning.",
            stacklevel=4,
        )

    # -- checks -------------------------------------------------------------------------------

    @property
    def _device(self) -> torch.device:
        return self._eager.parameters[0].device

    def _parameters(self) -> list[tuple[int, torch.Size]]:
        own = [p for module in self._modules for p in module.parameters() if p.requires_grad]
        return [(id(p), p.shape) for p in (*self._eager.parameters, *own)]

    def _check(self, call: Call) -> None:
        if not torch.is_grad_enabled():
            raise RuntimeError(
                "CompiledSVI: expected to run with gradients; got a call under torch.no_grad(), "
                "which would not train. Call it outside; evaluate() changes no weights."
            )
        if self._parameters() != self._known:
            raise RuntimeError(
                "CompiledSVI: expected the parameters it was made with; got others, added, resized "
                "or replaced since. Make both the optimizer and CompiledSVI anew."
            )
        if self._first is None:
            self._first = call.tensors
        for position, (first, got) in enumerate(zip(self._first, call.tensors, strict=False)):
            if (got.dtype, got.shape[1:], got.dim()) != (first.dtype, first.shape[1:], first.dim()):
                expected = ["batch", *first.shape[1:]]
                raise ShapeError(
                    f"argument {position + 1}: expected {first.dtype} {expected}, as before; got "
                    f"{got.dtype} {list(got.shape)}. Only the first dimension may change."
                )


def _advance(schedule: Any) -> None:
    if schedule is not None:
        schedule.step()


def _random(data: Examples, steps: int, batch_size: int | None) -> Tensor:
    """Batches that go through the data in random order, again and again, [steps, batch]."""
    size = len(data) if batch_size is None else batch_size
    if not 1 <= size <= len(data) or steps < 1:
        raise ValueError(
            f"steps, batch_size: expected ≥ 1, and a batch of at most the {len(data)} data; got "
            f"{steps} and {size}."
        )
    an_epoch = len(data) // size
    epochs = [
        torch.randperm(len(data), device=data.device)[: an_epoch * size].view(an_epoch, size)
        for _ in range(-(-steps // an_epoch))
    ]
    return torch.cat(epochs)[:steps]
