"""A pair that is run a few draws and data at a time, whatever is asked of it.

The unit is :data:`DATA` data, in the order of x, by a number of draws that follows from the size of
a datum. Each has random numbers of its own, and is always drawn whole: the last data are padded by
repeating the last datum, and what is too much is thrown away. So a draw is the same however many
draws, data or passes there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.diagnostics._programs import Program, in_plate, values
from pyro_vae.diagnostics._sites import (
    Sites,
    check_pair,
    data_sites,
    latent_sites,
    log_probs,
    plate_over_data,
    sample_sites,
    subsample_trace,
)

DATA = 20
"""Data of a unit."""

# Draws of a unit, at most; numbers of the data that are predicted at once: 4 MB.
_DRAWS, _NUMBERS = 50, 2**20
# How near the terms of a datum are that does not depend on the others.
_SAME = 1e-3


@dataclass(frozen=True)
class Block:
    """Data that are run together."""

    x: Tensor
    size: int
    """How many they are, with the padding."""
    where: slice
    """Which of all data they are, without."""


@dataclass(frozen=True)
class Drawn:
    """Draws from the guide."""

    latents: Mapping[str, Tensor]
    """[draw, *plates, datum, *event] each."""
    log_q: Tensor
    """Of all latents, [draw, datum]."""

    def __getitem__(self, draws: slice) -> Drawn:
        of = {name: value[draws] for name, value in self.latents.items()}
        return Drawn(of, self.log_q[draws])


def end_to_end(parts: list[Drawn]) -> Drawn:
    """The draws one after another."""
    latents = {n: torch.cat([part.latents[n] for part in parts]) for n in parts[0].latents}
    return Drawn(latents, torch.cat([part.log_q for part in parts]))


class Pair:
    """A model and a guide, checked by one run on ``x`` as they are."""

    def __init__(self, model: Program, guide: Program, x: Tensor, max_plate_nesting: int) -> None:
        guide_trace = poutine.trace(guide).get_trace(x)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(x)
        check_pair(model_trace, guide_trace, "to_arviz")
        for trace in (guide_trace, model_trace):
            log_probs(trace, max_plate_nesting)  # for its checks
        self.max_plate_nesting = max_plate_nesting
        self.sites = sample_sites(model_trace) | sample_sites(guide_trace)
        self.drawn = list(latent_sites(guide_trace))
        self.latents = list(latent_sites(model_trace))
        self.data = list(data_sites(model_trace))
        self.plates, self.size = plate_over_data(self.sites)
        # A plate that subsamples at random must choose the same for all draws.
        self._indices = subsample_trace(guide_trace, model_trace)
        self._model, self._guide = model, guide
        self._fix_subsamples()

    def of_any_data(self) -> None:
        """Let the plate over the data have other data, and other sizes, from now on."""
        for name in self.plates & self._indices.nodes.keys():
            self._indices.remove_node(name)
        self._fix_subsamples()

    def draw(self, x: Tensor, count: int) -> tuple[Sites, Drawn]:
        """The guide's sites, and what they drew."""
        trace = poutine.trace(self._in_plate(self.guide, count)).get_trace(x)
        log_q = torch.stack([*self._log_probs(trace).values()]).sum(0)
        sites = latent_sites(trace)
        return sites, Drawn(values(sites, self.drawn), log_q)

    def log_joint(self, x: Tensor, drawn: Drawn) -> dict[str, Tensor]:
        """log p of each site of the model, [draw, datum], at draws from the guide."""
        return self._log_probs(self._at(self._in_plate(self.model, len(drawn.log_q)), x, drawn))

    def observed(self, x: Tensor, drawn: Drawn) -> Sites:
        """The observed sites as they are at one draw, in a plate over draws."""
        return self._data_of(self._at(self._in_plate(self.model, 1), x, drawn[:1]))

    def predict(self, x: Tensor, drawn: Drawn) -> Sites:
        """The observed sites, drawn anew."""
        # Without `uncondition` the observed sites would give the data back.
        model = poutine.uncondition(self._in_plate(self.model, len(drawn.log_q)))
        return self._data_of(self._at(model, x, drawn))

    def generate(self, x: Tensor, count: int) -> Sites:
        """Latents and data as the model makes them."""
        model = poutine.uncondition(self._in_plate(self.model, count))
        nodes = poutine.trace(model).get_trace(x).nodes
        return {name: nodes[name] for name in [*self.latents, *self.data]}

    def is_per_datum(self, x: Tensor) -> bool:
        """Whether each datum's terms are the same in a block as among all of ``x``.

        A guide that scores only what it drew itself, as some flows, is held to the size alone.
        """
        sites, drawn = self.draw(x, 1)
        # Not the same tensors, for which flows remember the way back.
        latents = {name: value.clone() for name, value in drawn.latents.items()}
        terms = self._log_p_of(x, latents)
        given = _or_none(self._log_q_of, x, latents)
        terms |= given or {}
        for block in blocks_of(x):
            at = _indices_of(block.where.start, len(x)).to(x.device)
            of_block = {
                name: value.index_select(-1 - sites[name]["fn"].event_dim, at)
                for name, value in latents.items()
            }
            found = self._log_p_of(block.x, of_block)
            found |= self._log_q_of(block.x, of_block) if given else {}
            if len(self.draw(block.x, 1)[1].log_q[0]) != DATA or not all(
                value.shape == (1, DATA) and _near(value, terms[name][:, at])
                for name, value in found.items()
            ):
                return False
        return True

    def _log_p_of(self, x: Tensor, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = self.log_joint(x, Drawn(latents, x.new_zeros(1, 1)))
        return {f"p {name}": value for name, value in found.items()}

    def _log_q_of(self, x: Tensor, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        guide = poutine.condition(self._in_plate(self.guide, 1), latents)
        found = self._log_probs(poutine.trace(guide).get_trace(x))
        return {f"q {name}": value for name, value in found.items()}

    def _at(self, model: Program, x: Tensor, drawn: Drawn) -> poutine.Trace:
        latents = {name: drawn.latents[name] for name in self.latents}
        return poutine.trace(poutine.condition(model, latents)).get_trace(x)

    def _data_of(self, trace: poutine.Trace) -> Sites:
        return {name: trace.nodes[name] for name in self.data}

    def _log_probs(self, trace: poutine.Trace) -> dict[str, Tensor]:
        return log_probs(trace, self.max_plate_nesting + 1)

    def _in_plate(self, program: Program, count: int) -> Program:
        return in_plate(program, count, self.max_plate_nesting)

    def _fix_subsamples(self) -> None:
        self.model = poutine.replay(self._model, trace=self._indices)
        self.guide = poutine.replay(self._guide, trace=self._indices)


def pair_and_blocks(
    model: Program, guide: Program, x: Tensor, max_plate_nesting: int
) -> tuple[Pair, list[Block]]:
    """The pair, and the data as it takes them: in blocks where it can, else at once.

    It can where, of the first two blocks, it says the same together and apart. It cannot with masks
    or parameters for just these data, with a subsample of them, or where they depend on each other.
    """
    head = x[: 2 * DATA]
    try:
        pair = Pair(model, guide, head, max_plate_nesting)
        if pair.size == len(head):
            pair.of_any_data()
            if pair.is_per_datum(head):
                return pair, list(blocks_of(x))
    except Exception:  # whatever a program says of data that it is not for; or all data say again
        pass
    pair = Pair(model, guide, x, max_plate_nesting)
    return pair, [Block(x, pair.size, slice(0, pair.size))]


def blocks_of(x: Tensor) -> Iterator[Block]:
    """The data in blocks of :data:`DATA`, the last one padded."""
    for start in range(0, len(x), DATA):
        stop = min(start + DATA, len(x))
        yield Block(x[_indices_of(start, len(x)).to(x.device)], DATA, slice(start, stop))


def draws_of_unit(block: Block) -> int:
    """Draws of a unit: fewer of large data, and where a block has more data than others."""
    of_a_datum = max(1, block.x[:1].numel())
    at_most = max(1, min(_DRAWS, _NUMBERS // (of_a_datum * DATA)))
    return max(1, at_most * DATA // max(block.size, DATA))


def seed_of(seed: int, *unit: int) -> int:
    """Of a unit's random numbers."""
    words = np.random.SeedSequence([seed % 2**64, *unit]).generate_state(1, np.uint64)
    return int(words[0] >> 1)


def _indices_of(start: int, size: int) -> Tensor:
    """Of a block's data; past the end the last one's."""
    return torch.arange(start, start + DATA).clamp(max=size - 1)


def _or_none(
    compute: Callable[[Tensor, Mapping[str, Tensor]], dict[str, Tensor]],
    x: Tensor,
    latents: Mapping[str, Tensor],
) -> dict[str, Tensor] | None:
    try:
        return compute(x, latents)
    except Exception:  # Pyro has many for a transform that has no inverse
        return None


def _near(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=_SAME, atol=_SAME, equal_nan=True)
