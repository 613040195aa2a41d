"""What rules read: a pair's programs, run on the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor, nn

from pyro_vae._handlers import PosteriorMessenger
from pyro_vae._modes import forked_rng
from pyro_vae.diagnostics._sites import Sites, data_sites, latent_sites, sample_sites
from pyro_vae.diagnostics.linter._crash import Crash, crash_of
from pyro_vae.diagnostics.linter._untouched import Modules, Program
from pyro_vae.objectives import ELBO

Site = Mapping[str, Any]


class Unchecked(Exception):
    """A rule cannot be applied; the message says since when."""


@dataclass(frozen=True)
class Run:
    """One run of one program: all of its trace, or what there was before it crashed."""

    program: str
    trace: Trace
    crash: Crash | None
    changed_data: bool

    @cached_property
    def sites(self) -> Sites:
        """The sites that have a density."""
        return sample_sites(self.trace)

    @cached_property
    def latents(self) -> Sites:
        """The sites that were drawn."""
        return latent_sites(self.trace)

    @cached_property
    def observed(self) -> Sites:
        """The sites that were given data."""
        return data_sites(self.trace)

    @cached_property
    def params(self) -> dict[str, Site]:
        """The ``pyro.param`` statements, a PyroModule's among them."""
        return {name: self.trace.nodes[name] for name in self.trace.param_nodes}

    @cached_property
    def log_probs(self) -> dict[str, Tensor | Crash]:
        """log p of each site, masked and unscaled, of its batch shape; or why there is none."""
        return {name: _log_prob(self.program, site) for name, site in self.sites.items()}

    def scored(self) -> dict[str, Tensor]:
        """The log-probabilities. ``Unchecked`` where one cannot be had."""
        if self.crash is not None:
            raise Unchecked(f"the {self.program} ended in {self.crash.kind} on changed input")
        found = self.log_probs.values()
        if crash := next((value for value in found if isinstance(value, Crash)), None):
            raise Unchecked(f"the {self.program} cannot score given values ({crash.kind})")
        return {name: value for name, value in self.log_probs.items() if isinstance(value, Tensor)}


class Runs:
    """A guide run on data and a model run on the guide's latents, and what else rules ask for.

    Args:
        model, guide, x: the pair and its data.
        max_plate_nesting: dimensions for the pair's own plates.
        seed: every run starts from it, so that two runs differ by what was changed alone.
        modules: those that are met.
        settings: Pyro's, as the user has them.
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        x: Tensor,
        *,
        max_plate_nesting: int,
        seed: int,
        modules: Modules,
        settings: Mapping[str, Any],
    ) -> None:
        self.programs = {"guide": guide, "model": model}
        self.x, self.max_plate_nesting, self.seed = x, max_plate_nesting, seed
        self.modules, self.settings = modules, settings

    @cached_property
    def guide(self) -> Run:
        """The guide's run."""
        return self.run("guide", self.x)

    @cached_property
    def model(self) -> Run:
        """The model's, on the guide's latents; of a guide that crashed, on those it got to."""
        return self.run("model", self.x, given(self.guide.trace))

    @property
    def both(self) -> tuple[Run, Run]:
        """The guide's and the model's."""
        return self.guide, self.model

    @property
    def crashed(self) -> bool:
        """Whether one of the two ended in an exception."""
        return any(run.crash for run in self.both)

    def sites(self) -> Iterator[tuple[str, str, Site]]:
        """Every site: its program, its name, and what Pyro holds of it."""
        for run in self.both:
            yield from ((run.program, name, site) for name, site in run.sites.items())

    def common(self) -> dict[str, tuple[Site, Site]]:
        """The latent sites of both: name → the model's and the guide's."""
        model, guide = self.model.latents, self.guide.latents
        return {name: (model[name], guide[name]) for name in model if name in guide}

    def run(self, program: str, x: Tensor, values: Trace | None = None) -> Run:
        """Run a program from the seed, on the values of another trace if given."""
        function = self.programs[program]
        if values is not None:
            function = poutine.replay(function, trace=values)
        if program == "model" and x is self.x:  # on other data the posteriors are others
            function = PosteriorMessenger(self.guide.trace)(function)
        return _run(program, function, x, self.seed)

    @cached_property
    def loss(self) -> Tensor | Crash:
        """The negative ELBO of two particles, to be differentiated; or why there is none."""
        objective = ELBO(2, max_plate_nesting=self.max_plate_nesting)
        try:
            with forked_rng(self.seed, self.x.device):
                return objective.differentiable_loss(*self._pair(), self.x.detach().clone())
        except Exception as exception:  # the pair's own code: anything may come
            return crash_of("model and guide", exception)

    def _pair(self) -> tuple[Program, Program]:
        return self.programs["model"], self.programs["guide"]

    def module(self, program: str) -> nn.Module | None:
        """The program, if it is a module."""
        found = self.programs[program]
        return found if isinstance(found, nn.Module) else None


def given(trace: Trace, values: Mapping[str, Tensor] | None = None) -> Trace:
    """The trace to replay: without gradients, and with other ``values`` at some sites."""
    replayed = Trace()
    for name, site in trace.nodes.items():
        if site["type"] == "sample":
            value = (values or {}).get(name, site["value"])
            replayed.add_node(name, **{**site, "value": detached(value)})
    return replayed


def detached(value: Any) -> Any:
    """A tensor without its gradient; anything else as it is."""
    return value.detach() if isinstance(value, Tensor) else value


def plates(site: Site) -> dict[int, Any]:
    """The plates a site is in: dimension → Pyro's frame."""
    return {frame.dim: frame for frame in site["cond_indep_stack"] if frame.vectorized}


def uncovered(site: Site) -> list[int]:
    """Batch dimensions of more than one element that no plate enumerates."""
    shape = site["fn"].batch_shape
    return [d for d in range(-len(shape), 0) if shape[d] != 1 and d not in plates(site)]


def family(fn: Any) -> tuple[str, int]:
    """A distribution's name, and how many of its batch dimensions were made event dimensions."""
    declared = 0
    while hasattr(fn, "base_dist") and type(fn).__name__ in ("Independent", "ExpandedDistribution"):
        declared += getattr(fn, "reinterpreted_batch_ndims", 0)
        fn = fn.base_dist
    return type(fn).__name__, declared


def subsampled(site: Site) -> bool:
    """Whether one of the site's plates takes a part of what it enumerates."""
    return any(f.full_size not in (None, f.size) for f in plates(site).values())


def names(of: Iterable[str]) -> str:
    """Some names in a sentence, the first few of many."""
    shown = [repr(name) for name in of]
    more = [f"and {len(shown) - 5} more"] if len(shown) > 5 else []
    return ", ".join(shown[:5] + more)


def _run(program: str, function: Program, x: Tensor, seed: int) -> Run:
    tracer, own, crash = poutine.trace(), x.detach().clone(), None
    version = own._version
    with forked_rng(seed, x.device):
        try:
            with tracer:
                function(own)
        except Exception as exception:  # the user's own code: anything may come
            crash = crash_of(program, exception)
    return Run(program, tracer.trace, crash, own._version != version)


def _log_prob(program: str, site: Site) -> Tensor | Crash:
    try:
        log_prob = site["fn"].log_prob(site["value"])
        return torch.as_tensor(scale_and_mask(log_prob, mask=site["mask"]))
    except Exception as exception:  # a distribution's own code: anything may come
        found = crash_of(program, exception)
        return Crash(program, found.kind, found.message, found.source, site)
