"""Rules about gradients and objectives: what can be estimated with which."""

from __future__ import annotations

from collections.abc import Iterator

from pyro_vae._errors import PairError
from pyro_vae.diagnostics.linter._crash import Crash, finding_of
from pyro_vae.diagnostics.linter._findings import Finding, warning
from pyro_vae.diagnostics.linter._runs import Runs, Unchecked, family


def no_enumeration(runs: Runs) -> Iterator[Finding]:
    """No site asks to be enumerated."""
    for name, site in _enumerated(runs).items():
        yield warning(
            "model and guide",
            f"expected a sampled site; got infer={{'enumerate': {site!r}}}",
            why="of all objectives only pyro.infer.TraceEnum_ELBO (and TraceTMC_ELBO) sum over a "
            "discrete site; Trace_ELBO samples it, and this library's objectives and to_arviz "
            "refuse the pair",
            fix="TraceEnum_ELBO(max_plate_nesting=…), or drop infer= and sample the site in the "
            "guide",
            site=name,
        )


def reparameterised(runs: Runs) -> Iterator[Finding]:
    """The guide's samples have a gradient."""
    for name, site in runs.guide.latents.items():
        if not site["fn"].has_rsample and not site["infer"].get("enumerate"):
            counts = getattr(site["fn"], "has_enumerate_support", False)
            yield warning(
                "guide",
                f"expected a reparameterised sample; got {family(site['fn'])[0]}, whose "
                "samples have no gradient",
                why="the gradient is the score function's, with a high variance; DReG and "
                "StickingTheLanding refuse the pair",
                fix="many particles and a low learning rate, or "
                + (
                    "infer={'enumerate': 'parallel'} with pyro.infer.TraceEnum_ELBO"
                    if counts
                    else "a family with rsample, such as dist.Normal"
                ),
                site=name,
            )


def runs_with_particles(runs: Runs) -> Iterator[Finding]:
    """The pair runs with several particles left of the batch."""
    if _enumerated(runs):
        raise Unchecked("a site asks for enumeration")
    if isinstance(runs.loss, Crash):
        refused = runs.loss.kind == PairError.__name__
        yield finding_of(runs.loss, why=_REFUSED if refused else _VECTORISED)


def _enumerated(runs: Runs) -> dict[str, str]:
    asked = {name: site["infer"].get("enumerate") for _, name, site in runs.sites()}
    return {name: how for name, how in asked.items() if how}


_REFUSED = "this library's objectives refuse a pair that they would score wrongly"
_VECTORISED = (
    "the pair runs on [batch, …], but not with two particles, [particles, batch, …], as every "
    "objective with num_particles > 1, log_evidence and to_arviz run it; often a reshape that "
    "names the batch, or a convolution (pyro_vae.nn.LeadingShape)"
)
