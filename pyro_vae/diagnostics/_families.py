"""Distributions as members of a family: the parameters that a guide gives them, set free."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import Delta
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch.distributions import Distribution, Transform, Uniform, constraints, transform_to
from torch.distributions.constraints import Constraint

from pyro_vae._errors import PairError

__all__ = ["FreeParameter", "free_parameters", "innermost", "moved"]

Change = Callable[[Any, torch.Size], Distribution]
"""The innermost distribution and the batch shape that it stands for, to another."""

# Of parameters that stand for one another, the one that a distribution is made anew from.
_MADE_FROM = {
    "covariance_matrix": "scale_tril",
    "precision_matrix": "scale_tril",
    "probs": "logits",
}


@dataclass(frozen=True)
class FreeParameter:
    """A parameter of a site's innermost distribution, as numbers without constraints.

    Args:
        site, name: of the latent site and of the parameter.
        shape: of the numbers.
        dim: which of their dimensions enumerates the data, from the right.
    """

    site: str
    name: str
    shape: torch.Size
    dim: int


@torch.enable_grad()
def free_parameters(site: str, fn: Distribution) -> list[FreeParameter]:
    """The parameters of a site's distribution that carry a gradient: what a guide computes of data
    or weights. What is constant (degrees of freedom, a fixed scale) belongs to the family.

    Raises:
        PairError: a distribution that cannot be made anew with other parameters.
    """
    inner, batch_shape = _innermost(fn)
    to_event = len(batch_shape) - len(fn.batch_shape)
    found = []
    for name, (value, constraint) in _arguments(inner).items():
        if isinstance(value, Tensor) and value.requires_grad:
            transform = _transform(site, inner, name, constraint)
            shape = _numbers(value, transform, batch_shape).shape
            dim = -1 - to_event - transform.domain.event_dim
            found.append(FreeParameter(site, name, shape, dim))
    if found:
        _check_made_anew(site, inner)
    return found


def innermost(fn: Distribution) -> Distribution:
    """The distribution inside ``.to_event``, ``.expand``, ``.mask`` and transforms."""
    return _innermost(fn)[0]


def moved(fn: Distribution, by: Mapping[str, Tensor]) -> Distribution:
    """The distribution with parameters of its innermost one moved.

    Args:
        fn: the distribution.
        by: parameter → what is added to it as numbers without constraints.
    """

    def move(inner: Any, batch_shape: torch.Size) -> Distribution:
        arguments = _arguments(inner)
        values = {name: value for name, (value, _) in arguments.items()}
        for name, change in by.items():
            value, constraint = arguments[name]
            transform = transform_to(constraint)
            values[name] = transform(_numbers(value, transform, batch_shape) + change)
        return _made(inner, values)

    return _changed(fn, torch.Size(fn.batch_shape), move)


def _innermost(fn: Distribution) -> tuple[Any, torch.Size]:
    found = []

    def look(inner: Distribution, batch_shape: torch.Size) -> Distribution:
        found.append((inner, batch_shape))
        return inner

    _changed(fn, torch.Size(fn.batch_shape), look)
    return found[0]


def _changed(fn: Any, batch_shape: torch.Size, change: Change) -> Distribution:
    """``fn``, which stands for ``batch_shape``, with the innermost distribution changed."""
    if isinstance(fn, ExpandedDistribution):
        return _changed(fn.base_dist, batch_shape, change)
    if not hasattr(fn, "base_dist") or fn.arg_constraints:
        return change(fn, batch_shape)
    within = torch.Size([*batch_shape, *fn.base_dist.batch_shape[len(fn.batch_shape) :]])
    outer = copy(fn)
    outer.base_dist, outer._batch_shape = _changed(fn.base_dist, within, change), batch_shape
    return outer


def _arguments(fn: Any) -> dict[str, tuple[Any, Constraint]]:
    """What a distribution is made from: name → value and constraint."""
    if isinstance(fn, Uniform):  # of two ends, each would be the other's constraint
        width = fn.high - fn.low
        return {"low": (fn.low, constraints.real), "width": (width, constraints.positive)}
    if isinstance(fn, Delta):
        return {}
    names = [name for name in inspect.signature(type(fn).__init__).parameters if hasattr(fn, name)]
    return {
        name: (getattr(fn, name), fn.arg_constraints.get(name, constraints.dependent))
        for name in names
        if _MADE_FROM.get(name) not in names
    }


def _made(fn: Any, values: Mapping[str, Any]) -> Distribution:
    if isinstance(fn, Uniform):
        return type(fn)(values["low"], values["low"] + values["width"])
    return type(fn)(**values)


def _numbers(value: Tensor, transform: Transform, batch_shape: torch.Size) -> Tensor:
    """A parameter without constraints, one for each of the batch."""
    numbers = transform.inv(value)
    event_shape = numbers.shape[numbers.dim() - transform.domain.event_dim :]
    return numbers.expand(*batch_shape, *event_shape)


def _transform(site: str, fn: Any, name: str, constraint: Constraint) -> Transform:
    try:
        return transform_to(constraint)
    except NotImplementedError as error:
        raise PairError(
            f"site {site!r}: expected parameters that can vary freely, for the best distribution "
            f"of the family; got {name!r} of {type(fn).__name__}, whose constraint {constraint} "
            "has no transform. Register one, torch.distributions.transform_to.register, or detach "
            f"{name!r} in the guide: what carries no gradient stays as it is."
        ) from error


@torch.no_grad()
def _check_made_anew(site: str, fn: Any) -> None:
    values = {name: value for name, (value, _) in _arguments(fn).items()}
    try:
        drawn = fn.sample()
        anew = _made(fn, values).log_prob(drawn)
        same = torch.allclose(anew, fn.log_prob(drawn), rtol=1e-3, atol=1e-3)
    except TypeError:
        same = False
    if not same:
        raise PairError(
            f"site {site!r}: expected a distribution that its arguments make anew; got "
            f"{type(fn).__name__} with {sorted(values)}. Keep the arguments of its __init__ as "
            "attributes of the same names, each with its constraint in arg_constraints."
        )
