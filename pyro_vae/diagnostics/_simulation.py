"""Data that a model simulates, in the form in which model and guide take data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyro import poutine
from torch import Tensor

from pyro_vae._errors import PairError, ShapeError
from pyro_vae.diagnostics._programs import Program, in_plate, values
from pyro_vae.diagnostics._sites import Sites, check_pair, data_sites, latent_sites, sample_sites

Rebuild = Callable[[dict[str, Tensor]], Tensor]
"""Data as a pair takes them, made of the values of its observed sites."""


class SimulatedPair:
    """A model and a guide, checked by one run on the data ``x``, and data simulated in their shape.

    Args:
        where: the public function that errors name.
        model, guide: the pair.
        x: data.
        rebuild: makes data of what was simulated; ``None`` where one site is observed, and is x.
        max_plate_nesting: dims that the pair's own plates take up.

    Raises:
        PairError: a pair without log-weights per datum, plates beyond ``max_plate_nesting``, a
            ``pyro.factor``, or several observed sites and no ``rebuild``.
    """

    def __init__(
        self,
        where: str,
        model: Program,
        guide: Program,
        x: Tensor,
        rebuild: Rebuild | None,
        max_plate_nesting: int,
    ) -> None:
        self.where, self.model, self.guide, self.x = where, model, guide, x
        self.max_plate_nesting = max_plate_nesting
        guide_trace = poutine.trace(guide).get_trace(x)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(x)
        check_pair(model_trace, guide_trace, where)
        sampled = sample_sites(model_trace), sample_sites(guide_trace)
        self._check_nesting(site for sites in sampled for site in sites.values())
        self.latents = latent_sites(model_trace)
        self._data = {name: site["value"] for name, site in data_sites(model_trace).items()}
        self._rebuild = self._only_value if rebuild is None else rebuild
        self._check_that_it_simulates(model_trace, rebuild)

    @property
    def num_data(self) -> int:
        """The size of the plate over the data."""
        return next(iter(self.latents.values()))["fn"].batch_shape[-1]

    def simulate(self) -> tuple[Sites, Tensor]:
        """z ~ p(z) and x ~ p(x|z), once: the model's sites, and the data."""
        model = in_plate(self.model, 1, self.max_plate_nesting)
        trace = poutine.trace(poutine.uncondition(model)).get_trace(self.x)
        return latent_sites(trace), self._simulated(trace)[0]

    def draw(self, x: Tensor, size: int) -> Sites:
        """z ~ q(z|x), ``size`` times: the guide's sites."""
        guide = in_plate(self.guide, size, self.max_plate_nesting)
        return latent_sites(poutine.trace(guide).get_trace(x))

    def replicate(self, size: int) -> list[Tensor]:
        """x' ~ p(x'|z) with z ~ q(z|x) at the data x, ``size`` times."""
        guide = in_plate(self.guide, size, self.max_plate_nesting)
        guide_trace = poutine.trace(guide).get_trace(self.x)
        model = poutine.uncondition(in_plate(self.model, size, self.max_plate_nesting))
        replayed = poutine.replay(model, trace=guide_trace)
        return self._simulated(poutine.trace(replayed).get_trace(self.x))

    def _simulated(self, trace: poutine.Trace) -> list[Tensor]:
        """What was drawn at the observed sites, as data: one tensor a draw."""
        drawn = values(sample_sites(trace), self._data)
        each = zip(*drawn.values(), strict=True)
        return [self._as_data(dict(zip(drawn, one, strict=True))) for one in each]

    def _as_data(self, drawn: dict[str, Tensor]) -> Tensor:
        x = self._rebuild({n: self._like(n, v, self._data[n]) for n, v in drawn.items()})
        if x.shape != self.x.shape:
            raise ShapeError(
                f"{self.where}: expected rebuild to return data of the shape of x, "
                f"{list(self.x.shape)}; got {list(x.shape)}. Put them together as they are in x."
            )
        return x

    def _only_value(self, drawn: dict[str, Tensor]) -> Tensor:
        ((name, value),) = drawn.items()
        return self._like(name, value, self.x)

    def _like(self, name: str, value: Tensor, data: Tensor) -> Tensor:
        """The value with the shape and the type of ``data``."""
        if value.numel() != data.numel():
            raise ShapeError(
                f"{self.where}: expected the model to simulate at site {name!r} what fills data of "
                f"shape {list(data.shape)}; got {list(value.shape)}. Give rebuild=, a function "
                "from a dict of the observed sites' values to data, shaped as x."
            )
        value = value.reshape(data.shape)
        typed = value.to(data.dtype)
        if not data.is_floating_point() and bool((typed != value).any()):
            raise PairError(
                f"{self.where}: expected the model to simulate at site {name!r} values that the "
                f"data's type {data.dtype} holds; got others, of {value.dtype}. Give x as floats."
            )
        return typed

    def _check_nesting(self, sites: Iterable[dict[str, Any]]) -> None:
        frames = (frame for site in sites for frame in site["cond_indep_stack"])
        deepest = max(-frame.dim for frame in frames if frame.vectorized)
        if deepest > self.max_plate_nesting:
            raise PairError(
                f"{self.where}: expected the pair's plates to take up max_plate_nesting = "
                f"{self.max_plate_nesting} dims; got {deepest}. Give max_plate_nesting={deepest}."
            )

    def _check_that_it_simulates(self, model: poutine.Trace, rebuild: Rebuild | None) -> None:
        observed = {name for name, site in sample_sites(model).items() if site["is_observed"]}
        if factors := sorted(observed - self._data.keys()):
            raise PairError(
                f"{self.where}: expected a model that draws z and x from distributions; got the "
                f"factors {factors}, by which nothing is drawn. Leave them out, or make "
                "distributions of them."
            )
        if rebuild is None and len(self._data) > 1:
            raise PairError(
                f"{self.where}: expected one observed site, whose value is x; got "
                f"{sorted(self._data)}. Give rebuild=, a function from a dict of their values to "
                "data, shaped as x."
            )
