"""Rules about where distributions have their mass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_vae._modes import forked_rng
from pyro_vae.diagnostics.linter._findings import Finding, error, warning
from pyro_vae.diagnostics.linter._runs import Runs, family
from pyro_vae.evaluation.evidence import without_density

_DRAWS = 64


def same_measure(runs: Runs) -> Iterator[Finding]:
    """Prior and guide of a site are densities of the same kind, or both are masses."""
    for name, (p, q) in runs.common().items():
        kinds = _kind(p["fn"]), _kind(q["fn"])
        if None not in kinds and kinds[0] != kinds[1]:
            yield error(
                "model and guide",
                f"expected two of a kind; got {kinds[0]} in the model and {kinds[1]} in the guide",
                why="the ratio of the two has no meaning, and neither has the bound",
                fix="take a family of the prior's kind in the guide, or another prior "
                "(FixedPrior(dist.Dirichlet, …) beside DirichletGuide)",
                site=name,
            )


def latents_on_the_support(runs: Runs) -> Iterator[Finding]:
    """The guide's samples are on the prior's support."""
    for name, (p, q) in runs.common().items():
        inside = _inside(p["fn"], q["value"])
        if inside is not None and not inside.all():
            yield error(
                "model and guide",
                f"expected samples of the guide on the prior's support, {_support(p['fn'])}; got "
                f"others, between {_range(q['value'])}",
                why="where the prior has no mass KL(q‖p) is infinite and the bound −∞",
                fix="give the guide a family on that support, such as GammaGuide for positive "
                "latents, or take another prior",
                site=name,
            )


def data_on_the_support(runs: Runs) -> Iterator[Finding]:
    """The data are on the likelihood's support."""
    for name, site in runs.model.observed.items():
        value, inside = torch.as_tensor(site["value"]), _inside(site["fn"], site["value"])
        if inside is not None and _masked(inside, site["mask"]).any():
            yield error(
                "model",
                f"expected values in the likelihood's support, {_support(site['fn'])}; got values "
                f"between {_range(value)}",
                why="log p(x|z) is −∞ there, or a number that is none of a density",
                fix=_to_support(site["fn"], value),
                site=name,
            )


def covered_support(runs: Runs) -> Iterator[Finding]:
    """The guide can reach what the prior can."""
    for name, (p, q) in runs.common().items():
        with forked_rng(runs.seed, runs.x.device):
            inside = _inside(q["fn"], p["fn"].sample((_DRAWS,)))
        if inside is not None and not inside.all():
            yield warning(
                "guide",
                f"expected a support that covers the prior's, {_support(p['fn'])}; got "
                f"{_support(q['fn'])}",
                why="the ELBO is a bound all the same, but the posterior has mass that the guide "
                "never reaches: importance-weighted estimates stay below log p(x) however many "
                "samples are drawn",
                fix="dist.Normal(…) or another family without an end; or a prior on the guide's "
                "support",
                site=name,
            )


def densities_in_the_guide(runs: Runs) -> Iterator[Finding]:
    """Where the model has a density the guide has one, too."""
    prior, guide = runs.model.latents, runs.guide.latents
    sites = {n: (prior[n]["fn"] if n in prior else None, q["fn"]) for n, q in guide.items()}
    for name in without_density(sites):
        yield warning(
            "guide",
            f"expected a density, as the model has one; got {family(guide[name]['fn'])[0]}, a mass "
            "at one value",
            why="right for MAP training: Trace_ELBO then climbs to the mode. But log p(z) − log "
            "q(z|x) is of a density and a mass, and has no unit of its own: neither the ELBO as a "
            "bound nor a weight, a rate or a log p(x) made of it means anything. log_evidence and "
            "reliability refuse the pair",
            fix="keep it for MAP; for anything else dist.Normal(…) or another guide with a spread, "
            "such as a normal of the precision posterior_precision(model, x, mode)",
            site=name,
        )


def _inside(fn: Distribution, value: Any) -> Tensor | None:
    """Where values are on a distribution's support; ``None`` if it does not say."""
    try:
        support: Any = fn.support
        return support.check(torch.as_tensor(value))
    except (NotImplementedError, ValueError):
        return None


def _masked(inside: Tensor, mask: Any) -> Tensor:
    """Where values are off the support and count."""
    return ~inside if mask is None else ~inside & torch.as_tensor(mask)


def _innermost(fn: Distribution) -> Any:
    support: Any = fn.support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def _support(fn: Distribution) -> str:
    return str(_innermost(fn))


def _kind(fn: Distribution) -> str | None:
    try:
        support = _innermost(fn)
        if isinstance(support, type(constraints.simplex)):
            return "a density on the simplex"
        return "a discrete distribution" if support.is_discrete else "a density"
    except NotImplementedError:
        return None


def _range(value: Tensor) -> str:
    low, high = value.double().aminmax()
    return f"{low:.6g} and {high:.6g}"


def _to_support(fn: Distribution, value: Tensor) -> str:
    """How to bring data to a likelihood's support, by what they look like."""
    low, high = (float(end) for end in value.double().aminmax())
    support = _innermost(fn)
    to_one = isinstance(support, type(constraints.boolean)) or support is constraints.unit_interval
    if to_one and low >= 0 and high <= 1:
        return (
            "BernoulliLikelihood(decoder), whose distribution GreyBernoulli takes grey values "
            "(a cross entropy); ContinuousBernoulliLikelihood for a density; or "
            "binarise: pyro_vae.data.Dynamic(), or x.bernoulli()"
        )
    if to_one and low >= 0 and high <= 255:
        return "x = x / 255"
    if to_one and low >= -1 and high <= 1:
        return "x = (x + 1) / 2"
    return "rescale, round or binarise the data, or take another likelihood"
