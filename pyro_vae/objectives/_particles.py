"""What an objective reads: the log-probabilities of a model and a guide, per particle and datum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from pyro_vae._errors import PairError
from pyro_vae._handlers import LeafMessenger, PosteriorMessenger
from pyro_vae._shapes import PerParticle

__all__ = ["LatentSite", "ObservedSite", "Particles", "run_particles"]

Site = dict[str, Any]
PARTICLE_PLATE = "num_particles_vectorized"


@dataclass(frozen=True)
class ObservedSite:
    """A site with data: its name, log p [particles, batch] in nats, and its relative scale."""

    name: str
    log_p: PerParticle
    scale: Any


@dataclass(frozen=True)
class LatentSite:
    """A site the guide samples: both distributions, the value, and both log-densities."""

    name: str
    p: Distribution | None
    q: Distribution
    value: Tensor
    log_p: PerParticle
    log_q: PerParticle
    scale: Any
    masked: bool
    per_datum: Callable[[Tensor], PerParticle]
    """Masks and sums a tensor of the site's batch shape to [particles, batch]."""
    drawn: Tensor | None = None
    """Where ``value`` is a leaf: the sample it stands for, with the gradient to the guide."""


@dataclass(frozen=True)
class Particles:
    """A model and a guide run once, with all particles side by side.

    The *datum* of the dimension ``batch`` is what the plates that all sites share enumerate: for
    a VAE, plate ``"data"``. A pair with a global site shares no plate and is one datum.
    Log-probabilities are masked but not scaled: ``scale`` is the factor all sites share (N/B of a
    subsampled plate) and belongs outside any logarithm of a mean; where sites differ, ``scale`` is
    1 and each site's own ``scale`` says by how much (``uneven`` is then true).
    """

    latents: tuple[LatentSite, ...]
    observed: tuple[ObservedSite, ...]
    scale: Any
    uneven: bool
    model_order: tuple[str, ...]

    @cached_property
    def reconstruction(self) -> PerParticle:
        """log p(x|z), the sum over observed sites."""
        return _total(site.scale * site.log_p for site in self.observed)

    @cached_property
    def log_ratio(self) -> PerParticle:
        """log p(z) − log q(z|x), the sum over latent sites: minus the Monte-Carlo KL."""
        return _total(site.scale * (site.log_p - site.log_q) for site in self.latents)

    @cached_property
    def log_joint(self) -> PerParticle:
        """log p(x, z), the sum over all sites of the model."""
        return self.reconstruction + _total(site.scale * site.log_p for site in self.latents)

    @property
    def log_weight(self) -> PerParticle:
        """log p(x, z) − log q(z|x), the log importance weight."""
        return self.reconstruction + self.log_ratio

    @cached_property
    def score(self) -> PerParticle | None:
        """log q of the sites without a reparameterised sample; ``None`` where there are none.

        Unscaled in any case: a scale multiplies what is averaged, not the density it is drawn from.
        """
        sites = [site for site in self.latents if not site.q.has_rsample]
        return _total(site.log_q for site in sites) if sites else None

    def along_samples(self, target: Tensor) -> Tensor:
        """A number whose gradient is that of ``target``, a number, through the samples alone:

        .. math:: \\sum_k \\frac{∂\\,\\text{target}}{∂z_k} \\frac{dz_k}{dφ}

        the guide's parameters φ in log q(z|x) itself held fixed. For particles with leaves. Of
        several sites each one's derivative is taken with the others fixed; what a later sample
        owes to an earlier one comes in by dz/dφ.
        """
        samples = [(s.value, s.drawn) for s in self.latents if s.drawn is not None]
        direct = _gradients(target, [leaf for leaf, _ in samples])
        along = target.new_zeros(())
        for (leaf, drawn), gradient in zip(reversed(samples), reversed(direct), strict=True):
            (more,) = _gradients(along, [leaf])
            along = along + ((gradient + more).detach() * drawn).sum()
        return along

    def terms(self) -> dict[str, PerParticle]:
        """Every log-probability by the name a person knows it by."""
        terms = {f"log p({site.name}|…)": site.log_p for site in self.observed}
        for site in self.latents:
            terms |= {f"log p({site.name})": site.log_p, f"log q({site.name}|…)": site.log_q}
        return terms


def run_particles(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    *args: Any,
    num_particles: int = 1,
    max_plate_nesting: int = 1,
    leaves: bool = False,
    **kwargs: Any,
) -> Particles:
    """Run a guide, then the model on its samples, all particles in one vectorised pass.

    Args:
        model, guide: any Pyro pair; called with ``*args, **kwargs``.
        num_particles: samples of the latents a datum, in a plate left of the pair's own.
        max_plate_nesting: how many dimensions the pair's own plates take; needed to place the
            particles' plate when there are several.
        leaves: whether the samples that model and guide go on with are leaves, for
            :meth:`Particles.along_samples`.

    Raises:
        PairError: a pair this would score wrongly — a latent site that only one of the two
            samples, a site that asks for enumeration, plates deeper than ``max_plate_nesting``.
    """
    particle_dim = None if num_particles == 1 else -1 - max_plate_nesting
    if particle_dim is not None:
        model = _in_plate(model, num_particles, particle_dim)
        guide = _in_plate(guide, num_particles, particle_dim)
    cut = LeafMessenger()
    with cut if leaves else nullcontext():
        guide_trace = _trace(guide, *args, **kwargs)
    replayed = PosteriorMessenger(guide_trace)(poutine.replay(model, trace=guide_trace))
    model_trace = _trace(replayed, *args, **kwargs)
    return _read(_sites(model_trace), _sites(guide_trace), particle_dim, cut.drawn)


def _in_plate(program: Callable[..., Any], size: int, dim: int) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with pyro.plate(PARTICLE_PLATE, size, dim=dim):
            return program(*args, **kwargs)

    return run


def _too_deep() -> PairError:
    return PairError(
        "plates: expected no more than max_plate_nesting dimensions of plates in the pair; got "
        "more. Give the objective a larger max_plate_nesting."
    )


def _trace(program: Callable[..., Any], *args: Any, **kwargs: Any) -> Trace:
    try:
        trace = poutine.trace(program).get_trace(*args, **kwargs)
    except ValueError as error:
        if "collide at dim" in str(error) and PARTICLE_PLATE in str(error):
            raise _too_deep() from error
        raise
    for plates in map(_plates, _sites(trace).values()):
        if PARTICLE_PLATE in plates.values() and plates[min(plates)] != PARTICLE_PLATE:
            raise _too_deep()
    return trace


def _sites(trace: Trace) -> dict[str, Site]:
    nodes = prune_subsample_sites(trace).nodes
    return {name: node for name, node in nodes.items() if node["type"] == "sample"}


def _read(
    model: dict[str, Site],
    guide: dict[str, Site],
    particle_dim: int | None,
    drawn: Mapping[str, Tensor],
) -> Particles:
    _check_pair(model, guide)
    sites = [*model.values(), *guide.values()]
    even = _all_equal([site["scale"] for site in sites])
    layout = _Layout(particle_dim, _common_plates(sites), even)
    observed = [site for site in model.values() if site["is_observed"]]
    return Particles(
        latents=tuple(
            layout.latent(name, q, model.get(name), drawn.get(name)) for name, q in guide.items()
        ),
        observed=tuple(layout.observed(site) for site in observed),
        scale=sites[0]["scale"] if even else 1.0,
        uneven=not even,
        model_order=tuple(name for name in model if name in guide),
    )


@dataclass(frozen=True)
class _Layout:
    """How the tensors of a pair's sites become [particles, batch]."""

    particle_dim: int | None
    common: set[int]
    even: bool

    def observed(self, site: Site) -> ObservedSite:
        return ObservedSite(site["name"], self.log_prob(site), self.scale(site))

    def latent(self, name: str, q: Site, p: Site | None, drawn: Tensor | None) -> LatentSite:
        log_q = self.log_prob(q)
        return LatentSite(
            name=name,
            p=None if p is None else p["fn"],
            q=q["fn"],
            value=q["value"],
            log_p=torch.zeros_like(log_q) if p is None else self.log_prob(p),
            log_q=log_q,
            scale=self.scale(q if p is None else p),
            masked=q["mask"] is not None,
            per_datum=partial(self.per_datum, q),
            drawn=drawn,
        )

    def log_prob(self, site: Site) -> Tensor:
        try:
            log_prob = site["fn"].log_prob(site["value"])
        except ValueError as error:
            _check_value(site, error)
            raise
        return self.per_datum(site, log_prob)

    def scale(self, site: Site) -> Any:
        return 1.0 if self.even else site["scale"]

    def per_datum(self, site: Site, value: Tensor) -> Tensor:
        """Mask ``value``, of the site's batch shape, and sum all but particles and data."""
        value = scale_and_mask(value, 1.0, site["mask"])
        kept = self.common | {self.particle_dim}
        others = [dim for dim in range(-value.dim(), 0) if dim not in kept]
        if others:
            value = value.sum(others)
        return value.reshape(1 if self.particle_dim is None else value.shape[0], -1)


def _check_pair(model: dict[str, Site], guide: dict[str, Site]) -> None:
    latent = {name for name, site in model.items() if not site["is_observed"]}
    sampled = {n for n, site in guide.items() if not site["infer"].get("is_auxiliary")}
    if any(site["is_observed"] for site in guide.values()):
        raise PairError("guide: expected no observed site; got one. Observe data in the model.")
    if not_sampled := latent - sampled:
        raise PairError(
            f"guide: expected a sample of every latent site of the model; got none for "
            f"{sorted(not_sampled)}. Sample them in the guide."
        )
    if not_in_model := sampled - latent:
        raise PairError(
            f"model: expected every site the guide samples; got none for {sorted(not_in_model)}. "
            "Sample them in the model, or mark them infer={'is_auxiliary': True} in the guide."
        )
    for name in latent:
        _check_supports(name, guide[name]["fn"], model[name]["fn"])
    for name, site in (model | guide).items():
        if site["infer"].get("enumerate"):
            raise PairError(
                f"site {name!r}: expected no enumeration; got infer={{'enumerate': …}}. Take "
                "pyro.infer.TraceEnum_ELBO, which sums over discrete sites."
            )


def _check_supports(name: str, q: Distribution, p: Distribution) -> None:
    """A density on the simplex is one of n − 1 coordinates: no ratio to one of n means anything."""
    if _on_simplex(q) != _on_simplex(p):
        raise PairError(
            f"site {name!r}: expected prior and guide both on the simplex, or neither; got {p} and "
            f"{q}. Take a Dirichlet prior (FixedPrior) beside a Dirichlet guide."
        )


def _check_value(site: Site, error: ValueError) -> None:
    """``PairError`` for a latent that the guide drew off the prior's support."""
    p = site["fn"]
    if site["is_observed"] or bool(p.support.check(site["value"]).all()):
        return
    raise PairError(
        f"site {site['name']!r}: expected samples of the guide on the prior's support, "
        f"{p.support}; got others. Give the guide a family on that support, such as GammaGuide for "
        "positive latents, or another prior."
    ) from error


def _on_simplex(distribution: Distribution) -> bool:
    try:
        return isinstance(distribution.support, type(constraints.simplex))
    except NotImplementedError:  # a distribution that does not say
        return False


def _plates(site: Site) -> dict[int, str]:
    """The plates a site is in: dimension → name."""
    return {frame.dim: frame.name for frame in site["cond_indep_stack"] if frame.vectorized}


def _common_plates(sites: list[Site]) -> set[int]:
    """Dimensions of the plates every site is in, the particles' plate left out.

    By dimension, as Pyro aligns a guide's sites with the model's; the names may differ.
    """
    shared = set.intersection(*(set(_plates(site)) for site in sites))
    return shared - {dim for dim, name in _plates(sites[0]).items() if name == PARTICLE_PLATE}


def _all_equal(scales: list[Any]) -> bool:
    first = scales[0]
    # A graph that is being recorded has no values to compare: tensors are then taken to differ.
    recording = get_proxy_mode() is not None
    return all(scale is first or _equal(scale, first, recording) for scale in scales)


def _equal(one: Any, other: Any, recording: bool) -> bool:
    if recording and (isinstance(one, Tensor) or isinstance(other, Tensor)):
        return False
    return bool(torch.as_tensor(one == other).all())


def _gradients(of: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """d of / d leaf of each, zero where there is no way from one to the other."""
    if not (of.requires_grad and leaves):
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(of, leaves, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(leaf) if one is None else one
        for leaf, one in zip(leaves, found, strict=True)
    ]


def _total(terms: Iterable[Any]) -> Any:
    """The sum with global terms ([particles, 1]) broadcast, without a needless first 0 +."""
    total = None
    for term in terms:
        total = term if total is None else total + term
    return torch.zeros(1, 1) if total is None else total
