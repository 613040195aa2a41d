"""Normalising flows on Pyro's transforms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import transforms as pyro_transforms
from pyro.distributions.conditional import ConditionalTransform
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints

from pyro_vae._errors import PairError

__all__ = ["Flip", "Flow", "forget_samples"]

_WITHOUT_INVERSE = (
    pyro_transforms.BlockAutoregressive,
    pyro_transforms.ConditionalPlanar,
    pyro_transforms.ConditionalRadial,
    pyro_transforms.NeuralAutoregressive,
    pyro_transforms.ConditionalNeuralAutoregressive,
    pyro_transforms.Planar,
    pyro_transforms.Polynomial,
    pyro_transforms.Radial,
    pyro_transforms.Sylvester,
)


class Flow(nn.Module):
    """Transforms one after another, the first one next to the base:

    .. math:: \\log p(z) = \\log p_0(z_0) - \\sum_t \\log |\\det ∂f_t/∂z_{t-1}|, \\quad
       z_t = f_t(z_{t-1})

    in nats (Rezende and Mohamed, 2015).

    Args:
        transforms: of ``pyro.distributions.transforms``, conditional or not. Those that are modules
            move between devices with this one.
        inverted: whether each f_t is the inverse of the transform given. Autoregressive transforms
            are fast one way only: as given, they sample fast; inverted, they score fast.

    >>> from pyro.distributions.transforms import affine_autoregressive
    >>> flow = Flow([affine_autoregressive(2), Flip()])
    >>> base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    >>> flow.distribution(base).sample((5,)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self, transforms: Sequence[Transform | ConditionalTransform], *, inverted: bool = False
    ) -> None:
        super().__init__()
        self.inverted = inverted
        self._transforms = list(transforms)
        self.parts = nn.ModuleList(t for t in transforms if isinstance(t, nn.Module))

    @property
    def has_inverse(self) -> bool:
        """Whether a given z can be scored, not only the last sample."""
        return not any(isinstance(part, _WITHOUT_INVERSE) for part in _parts(self._transforms))

    def distribution(self, base: Distribution, context: Tensor | None = None) -> Distribution:
        """The distribution of the last z.

        Args:
            base: p_0, event shape ``(latent,)``.
            context: [batch, context], for conditional transforms.
        """
        forget_samples(self)
        ready = [
            t.condition(context) if isinstance(t, ConditionalTransform) else t
            for t in self._transforms
        ]
        return _Transformed(base, [t.inv for t in ready] if self.inverted else ready)

    def __getstate__(self) -> dict[str, Any]:
        """Without what the transforms remember of their last sample, which cannot be copied."""
        forget_samples(self)
        return self.__dict__.copy()


def forget_samples(module: nn.Module) -> None:
    """Have Pyro's transforms in ``module`` forget what they remember of their last input.

    They remember it by the tensor itself: a tensor that comes again, after the weights have
    changed, would be given what the old weights made of it.
    """
    for part in module.modules():
        for name in [name for name in vars(part) if name.startswith("_cache")]:
            if name != "_cache_size":
                setattr(part, name, (None, None) if name == "_cached_x_y" else None)


def _parts(transforms: Iterable[Any]) -> Iterator[Any]:
    """The transforms, and those that they are composed of."""
    for transform in transforms:
        yield transform
        yield from _parts(getattr(transform, "parts", getattr(transform, "transforms", ())))


class Flip(TransformModule):
    """The dimensions in reverse: between coupling or autoregressive transforms, so that each
    dimension comes to depend on each.

    >>> Flip()(torch.tensor([1.0, 2.0, 3.0]))
    tensor([3., 2., 1.])
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self) -> None:
        super().__init__(cache_size=1)  # what stands before it may know its own samples only

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flip)

    def __hash__(self) -> int:
        return super().__hash__()

    def _call(self, x: Tensor) -> Tensor:
        return x.flip(-1)

    _inverse = _call

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Zero."""
        return x.new_zeros(x.shape[:-1])


class _Transformed(dist.TransformedDistribution):
    """A transformed distribution that says what a transform without inverse means."""

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self._through(self.base_dist.sample(torch.Size(sample_shape)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._through(self.base_dist.rsample(torch.Size(sample_shape)))

    def _through(self, z: Tensor) -> Tensor:
        with _default_dtype(z.dtype):
            for transform in self.transforms:
                z = transform(z)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        whole = torch.broadcast_shapes(value.shape[:-1], self.batch_shape) + self.event_shape
        if value.shape != whole:  # many latents under many flows, as in a mixture
            value = value.expand(whole)
        try:
            with _default_dtype(value.dtype):
                return super().log_prob(value)
        except (KeyError, NotImplementedError) as error:  # Pyro's signs of no inverse
            raise PairError(
                "flow: expected a sample of its own, since a transform of it has no inverse; got "
                "another. Use inverse autoregressive or spline transforms, or an objective that "
                "scores its own samples only (ELBO, IWAE)."
            ) from error


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Pyro's inverse of an autoregressive transform starts from zeros of the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
