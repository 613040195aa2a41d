"""Where the truth lies among draws of a posterior, over simulations of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from pyro_vae._errors import NonFiniteError, ShapeError
from pyro_vae._modes import evaluation_mode, forked_rng, modules_of
from pyro_vae._shapes import PerParticle
from pyro_vae.diagnostics._programs import Program, check_counts, chunks, values
from pyro_vae.diagnostics._simulation import Rebuild, SimulatedPair
from pyro_vae.diagnostics._sites import Sites

Quantity = Callable[[dict[str, Tensor], Tensor], PerParticle]
"""A number a draw and datum, of the latents {site: [draw, *plates, datum, *event]} and the data."""


@dataclass(frozen=True)
class Ranks:
    """How many of ``num_draws`` draws lie below the truth, and a number U in [0, 1) beside each."""

    names: tuple[str, ...]
    ranks: Int[np.ndarray, "simulations quantities"]
    noise: Float[np.ndarray, "simulations quantities"]
    num_draws: int

    @property
    def probabilities(self) -> Float[np.ndarray, "simulations quantities"]:
        """q(below the truth) = (rank + U) / (draws + 1): uniform where ranks are, without ties."""
        return (self.ranks + self.noise) / (self.num_draws + 1)


@dataclass(frozen=True)
class Simulations:
    """How a pair's posteriors are held against the truth: what the public functions are given."""

    where: str
    model: Program
    guide: Program
    x: Tensor
    num_simulations: int
    num_draws: int
    rebuild: Rebuild | None
    max_plate_nesting: int
    chunk_size: int
    seed: int
    progress: bool

    def ranks(self, quantities: Mapping[str, Quantity] | None = None) -> Ranks:
        """Of each element of each latent site, then of each quantity."""
        self._check_counts()
        device = self.x.device
        with (
            torch.no_grad(),
            evaluation_mode(*modules_of(self.model, self.guide)),
            forked_rng(self.seed, device),
        ):
            against = _Truths(self._pair(), quantities or {}, self.num_draws, self.chunk_size)
            seeds, batches = self._seeds(against.pair.num_data), []
            with self._bar(len(seeds) * self.num_draws) as bar:
                # A batch has random numbers of its own: what is simulated does not depend on draws.
                for seed in seeds:
                    with forked_rng(seed, device):
                        batches.append(against.ranked(bar))
        ranks, noise = (
            torch.cat(part)[: self.num_simulations].cpu().numpy()
            for part in zip(*batches, strict=True)
        )
        return Ranks(against.names, ranks, noise, self.num_draws)

    def _pair(self) -> SimulatedPair:
        return SimulatedPair(
            self.where, self.model, self.guide, self.x, self.rebuild, self.max_plate_nesting
        )

    def _seeds(self, num_data: int) -> list[int]:
        batches = -(-self.num_simulations // num_data)
        return np.random.default_rng(self.seed).integers(2**63, size=batches).tolist()

    def _bar(self, total: int) -> tqdm:
        return tqdm(total=total, unit="draw", disable=not self.progress, dynamic_ncols=True)

    def _check_counts(self) -> None:
        check_counts(
            self.where,
            num_simulations=self.num_simulations,
            num_draws=self.num_draws,
            max_plate_nesting=self.max_plate_nesting,
            chunk_size=self.chunk_size,
        )


class _Truths:
    """Draws of the guide held against what the model drew, a batch at a time."""

    def __init__(
        self,
        pair: SimulatedPair,
        quantities: Mapping[str, Quantity],
        num_draws: int,
        chunk_size: int,
    ) -> None:
        self.pair, self.quantities = pair, quantities
        self.sizes = chunks(num_draws, chunk_size)
        elements = [each for name, site in pair.latents.items() for each in _elements(name, site)]
        self.names = (*elements, *quantities)
        if len(set(self.names)) < len(self.names):
            raise ValueError(
                f"{pair.where}: expected quantities of other names than the latents', "
                f"{elements}; got {list(quantities)}. Rename them."
            )

    def ranked(self, bar: tqdm) -> tuple[Tensor, Tensor]:
        """A batch's ranks and the noise beside them, [datum, quantity] each; ties fall anywhere."""
        sites, x = self.pair.simulate()
        truth = self._numbers(sites, x, "z ~ p(z)")
        below = torch.zeros_like(truth[0], dtype=torch.int64)
        equal = torch.zeros_like(below)
        for size in self.sizes:
            drawn = self._numbers(self.pair.draw(x, size), x, "z ~ q(z|x)")
            below += (drawn < truth).sum(0)
            equal += (drawn == truth).sum(0)
            bar.update(size)
        tie, noise = self._uniform_numbers(truth.device)
        return below + (tie * (equal + 1)).long(), noise

    def _uniform_numbers(self, device: torch.device) -> Tensor:
        """[2, datum, quantity], of each quantity the same whatever follows it."""
        shape = (2, self.pair.num_data)
        each = [torch.rand(shape, dtype=torch.float64, device=device) for _ in self.names]
        return torch.stack(each, dim=-1)

    def _numbers(self, sites: Sites, x: Tensor, which: str) -> Tensor:
        """What is ranked, [draw, datum, quantity]."""
        z = values(sites, self.pair.latents)
        latents = [self._flat(sites[name], value) for name, value in z.items()]
        for name, value in zip(z, latents, strict=True):
            self._check(value.isfinite(), f"site {name!r}, {which}")
        others = [self._quantity(name, z, x, which) for name in self.quantities]
        return torch.cat([*latents, *others], dim=-1)

    def _flat(self, site: Mapping[str, Any], value: Tensor) -> Tensor:
        """A site's value as [draw, datum, element]."""
        batch_dims = len(site["fn"].batch_shape)
        return value.movedim(batch_dims - 1, 1).reshape(len(value), self.pair.num_data, -1)

    def _quantity(self, name: str, z: dict[str, Tensor], x: Tensor, which: str) -> Tensor:
        value = self.quantities[name](z, x)
        expected = (len(next(iter(z.values()))), self.pair.num_data)
        if value.shape != expected:
            raise ShapeError(
                f"{self.pair.where}: expected quantity {name!r} of shape [draw, datum], "
                f"{list(expected)}; got {list(value.shape)}. Sum out other dims."
            )
        self._check(~value.isnan(), f"quantity {name!r} at {which}")
        return value[..., None]

    def _check(self, fine: Tensor, what: str) -> None:
        if not bool(fine.all()):
            error = NonFiniteError(
                f"{self.pair.where}: expected finite numbers; got NaN or an infinity in {what}. "
                "Check what the networks give for data that the model simulates."
            )
            error.term = what
            raise error


def _elements(name: str, site: Mapping[str, Any]) -> list[str]:
    """The names of a site's elements, of all dims but the datum's: z, or z[0], z[1], …"""
    fn = site["fn"]
    shape = (*fn.batch_shape[:-1], *fn.event_shape)
    return [f"{name}[{', '.join(map(str, at))}]" if at else name for at in np.ndindex(*shape)]
