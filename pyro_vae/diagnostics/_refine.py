"""Guides with numbers of their own for each datum, and the search for the best of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import cos, pi, sqrt
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import Distribution
from tqdm import tqdm

from pyro_vae._errors import PairError, ShapeError
from pyro_vae._handlers import LeafMessenger
from pyro_vae._modes import forked_rng
from pyro_vae.diagnostics._families import FreeParameter, free_parameters, innermost, moved
from pyro_vae.diagnostics._programs import Program
from pyro_vae.diagnostics._sites import Sites, latent_sites
from pyro_vae.objectives import ELBO, Objective, StickingTheLanding

__all__ = ["PerDatumGuide", "RefinedGuide", "Run", "Search", "guide_sites", "refined"]


@runtime_checkable
class Part(Protocol):
    """What a site's numbers are."""

    @property
    def site(self) -> str:
        """The name of the site."""


AnyPart = TypeVar("AnyPart", bound=Part)

_PARTICLES = 10  # of a step
_HELD_OUT = 100  # samples by which the numbers of one step are held against another's
_SCORES = 32  # by which a parameter's Fisher information is estimated


class PerDatumGuide(nn.Module, ABC, Generic[AnyPart]):
    """A guide whose distributions are changed by numbers that each datum has for itself.

    A Pyro program with the sites of the guide, for the data ``x``: it takes all or some of them, in
    any order. It knows them by their values.

    Args:
        guide: the guide.
        x: data, [data, *event].
        parts: what the numbers are, in the order of a call's sites.
        free: the numbers, [data, …] each; where they are zero, nothing is changed.
        fixed: others that each datum has, [data, …], which are not searched for.

    Raises:
        ShapeError: when called with other data.
    """

    x: Tensor

    def __init__(
        self,
        guide: nn.Module,
        x: Tensor,
        parts: Sequence[AnyPart],
        free: Sequence[Tensor],
        fixed: Sequence[Tensor],
    ) -> None:
        super().__init__()
        self.guide, self.parts = guide, tuple(parts)
        self.sites = {part.site for part in parts}
        self.register_buffer("x", x)
        self.free = nn.ParameterList(free)
        self.fixed = nn.ParameterList(nn.Parameter(each, requires_grad=False) for each in fixed)
        self._rows: dict[bytes, int] = {}

    def forward(self, x: Tensor) -> object:
        """The guide's program, with the distributions of these data."""
        rows = slice(None) if x is self.x else self._rows_of(x)
        with Run(self, rows):
            return self.guide(x)

    @abstractmethod
    def changed(self, name: str, fn: Distribution, of: Run) -> Distribution:
        """What stands in the place of a site's distribution, in one run of the guide."""

    @classmethod
    def joined(cls, guide: nn.Module, x: Tensor, pieces: Sequence[Any]) -> Any:
        """One guide for all the data that ``pieces`` are for, x in their order."""
        free, fixed = (
            [torch.cat([each.detach() for each in same]) for same in zip(*lists, strict=True)]
            for lists in ([piece.free for piece in pieces], [piece.fixed for piece in pieces])
        )
        return cls(guide, x, pieces[0].parts, free, fixed)

    @torch.no_grad()
    def keep(self, kept: Tensor) -> None:
        """Change nothing in the data that are not ``kept``, [data]."""
        for numbers in self.free:
            numbers.copy_(numbers.where(_beside(kept, numbers), 0.0))

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._rows = {}  # in another precision other values
        return super()._apply(fn, recurse)

    def _rows_of(self, x: Tensor) -> Tensor:
        if not self._rows:
            self._rows = {key: row for row, key in enumerate(_keys(self.x))}
        rows = [self._rows.get(key, -1) for key in _keys(x)]
        if -1 in rows:
            raise ShapeError(
                f"{type(self).__name__}: expected data among the {len(self.x)} that it is for; got "
                f"another at position {rows.index(-1)}. Run amortisation_audit on those data."
            )
        return torch.tensor(rows, device=self.x.device)


class Run(Messenger):
    """One run of a :class:`PerDatumGuide`: rows of its data, and what was drawn so far."""

    def __init__(self, guide: PerDatumGuide[Any], rows: slice | Tensor) -> None:
        super().__init__()
        self._guide, self._of = guide, rows
        self.drawn: dict[str, tuple[Distribution, Tensor]] = {}

    def rows(self, numbers: Tensor, dim: int) -> Tensor:
        """Those of the numbers that belong to the run's data, which go to the dimension ``dim``."""
        return numbers[self._of].movedim(0, dim)

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self._guide.sites:
            msg["fn"] = self._guide.changed(msg["name"], msg["fn"], self)

    def _pyro_post_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self._guide.sites:
            self.drawn[msg["name"]] = msg["fn"], msg["value"]


def _keys(x: Tensor) -> Iterator[bytes]:
    """What a datum is known by, in whatever precision it comes."""
    rows = x.detach().double().cpu().reshape(len(x), -1).numpy()
    return (blake2b(row.tobytes(), digest_size=16).digest() for row in rows)


def _beside(per_datum: Tensor, numbers: Tensor) -> Tensor:
    return per_datum.reshape(-1, *[1] * (numbers.dim() - 1))


# --- the same family -----------------------------------------------------------------------------


class RefinedGuide(PerDatumGuide[FreeParameter]):
    """Free parameters moved, as numbers without constraints, by ``free`` · ``fixed``."""

    def changed(self, name: str, fn: Distribution, of: Run) -> Distribution:
        by = {
            part.name: of.rows(number * unit, part.dim)
            for part, number, unit in zip(self.parts, self.free, self.fixed, strict=True)
            if part.site == name
        }
        return moved(fn, by)


@torch.enable_grad()
def guide_sites(guide: nn.Module, x: Tensor) -> Sites:
    """The guide's sites, each parameter with a gradient if it depends on data or weights.

    Raises:
        PairError: a site that is discrete, has no reparameterised samples or is outside of the
            plate over the data.
    """
    leaf = x.detach().requires_grad_() if x.is_floating_point() else x
    sites = latent_sites(poutine.trace(guide).get_trace(leaf))
    for name, site in sites.items():
        if not site["fn"].has_rsample:
            raise PairError(
                f"site {name!r}: expected reparameterised samples, by which the best distribution "
                f"of the family is found; got {type(site['fn']).__name__}. Sum discrete latents "
                "out of the model, or relax them (RelaxedOneHotCategorical)."
            )
        if not any(f.dim == -1 and f.size == len(x) for f in site["cond_indep_stack"]):
            raise PairError(
                f"site {name!r}: expected a distribution for each of {len(x)} data; got it outside "
                'of a plate over them. Put it in `with pyro.plate("data", len(x), dim=-1):`.'
            )
    return sites


def refined(guide: nn.Module, x: Tensor, sites: Sites) -> RefinedGuide:
    """The guide with free parameters, in units of the inverse root of their Fisher information: a
    small step t of one of them is a Kullback–Leibler divergence of t²/2 from where it starts.

    Args:
        guide, x: guide and data.
        sites: :func:`guide_sites` of them.

    Raises:
        PairError: a guide without parameters.
    """
    parts = [part for name, site in sites.items() for part in free_parameters(name, site["fn"])]
    if not parts:
        raise PairError(
            "amortisation_audit: expected a guide whose distributions have parameters that it "
            f"computes; got constants at {sorted(sites)}, or noise that it transforms itself. "
            "Compute them from x or from nn.Parameters; give a flow a base that has some."
        )
    zeros = [_zeros(x, part, sites) for part in parts]
    start = RefinedGuide(guide, x, parts, zeros, [torch.ones_like(each) for each in zeros])
    units = _inverse_root_information(start)
    return RefinedGuide(guide, x, parts, zeros, units)


def _zeros(x: Tensor, part: FreeParameter, sites: Sites) -> Tensor:
    like = sites[part.site]["value"]
    return like.new_zeros(part.shape).movedim(part.dim, 0).contiguous()


def _inverse_root_information(guide: RefinedGuide) -> list[Tensor]:
    """E[(∂ log q/∂t)²]^(−½) of each number t; 1 where q does not depend on it."""
    free = list(guide.free)
    total = [torch.zeros_like(each) for each in free]
    for _ in range(_SCORES):
        with torch.enable_grad(), LeafMessenger():
            trace = poutine.trace(guide).get_trace(guide.x)
            inner = [innermost(site["fn"]) for site in latent_sites(trace).values()]
            score = torch.stack([fn.log_prob(fn.sample()).sum() for fn in inner]).sum()
            found = torch.autograd.grad(score, free, allow_unused=True, materialize_grads=True)
        total = [before + each.square() for before, each in zip(total, found, strict=True)]
    units = [(each / _SCORES).rsqrt() for each in total]
    return [torch.where(unit.isfinite(), unit, 1.0) for unit in units]


# --- the search ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Search:
    """The search for each datum's best numbers, all data side by side.

    Args:
        steps: of Adam.
        learning_rate: about the root of twice the Kullback–Leibler divergence that a step moves a
            datum's distribution by.
        max_plate_nesting: of the pair.
        bar: is told of each step.
    """

    steps: int
    learning_rate: float
    max_plate_nesting: int
    bar: tqdm

    def __call__(self, model: Program, guide: PerDatumGuide[Any], noise: int) -> Tensor:
        """Leave the guide with the numbers whose ELBO is best on the samples of the seed ``noise``;
        what the last third of the steps gained there, [data], in nats."""
        free = list(guide.free)
        objective = self._objective(model, guide)
        per_datum = sum(each[0].numel() for each in free)
        rate = self.learning_rate / sqrt(per_datum)
        # With `eps` so large, small gradients make small steps: natural gradients', of rate one.
        adam = torch.optim.Adam(free, lr=rate, betas=(0.9, 0.99), eps=rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(adam, self._slower)
        elbo = [self._elbo(model, guide, noise)]
        with pyro.validation_enabled(False):
            for step in range(1, self.steps + 1):
                with torch.enable_grad():
                    loss = objective.differentiable_loss(model, guide, guide.x)
                    gradients = torch.autograd.grad(loss, free)
                for each, gradient in zip(free, gradients, strict=True):
                    each.grad = gradient.where(gradient.isfinite(), 0.0)
                adam.step()
                schedule.step()
                if step in (-(-2 * self.steps // 3), self.steps):
                    elbo.append(self._elbo(model, guide, noise))
                self.bar.update()
        adam.zero_grad()
        guide.keep(elbo[-1] > elbo[0])
        return elbo[-1].maximum(elbo[0]) - elbo[1]

    def _slower(self, step: int) -> float:
        """The steps' size falls as half a cosine does."""
        return (1 + cos(pi * step / self.steps)) / 2

    def _elbo(self, model: Program, guide: PerDatumGuide[Any], noise: int) -> Tensor:
        objective = ELBO(_HELD_OUT, max_plate_nesting=self.max_plate_nesting)
        with forked_rng(noise, guide.x.device):
            return objective.per_datum(model, guide, guide.x)

    def _objective(self, model: Program, guide: PerDatumGuide[Any]) -> Objective:
        """Gradients along the samples have no noise at an exact posterior; not every guide can."""
        nesting = self.max_plate_nesting
        along = StickingTheLanding(_PARTICLES, max_plate_nesting=nesting)
        try:
            with torch.enable_grad():
                along.differentiable_loss(model, guide, guide.x)
        except (PairError, KeyError, NotImplementedError):  # the last two are foreign flows'
            return ELBO(_PARTICLES, max_plate_nesting=nesting)
        return along
