"""Rules about what depends on what: the pair is run again on other data or latents."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from pyro_vae._module import EstimatedMean
from pyro_vae.diagnostics.linter._findings import Finding, warning
from pyro_vae.diagnostics.linter._runs import (
    Run,
    Runs,
    Site,
    Unchecked,
    given,
    names,
    plates,
    subsampled,
)


def used_latents(runs: Runs) -> Iterator[Finding]:
    """Something in the model depends on each latent site."""
    before = runs.model.scored()
    for name, site in runs.model.latents.items():
        other = _prior_draw(runs, name)
        if torch.equal(other, site["value"]):
            continue  # a prior of one value
        after = runs.run("model", runs.x, given(runs.model.trace, {name: other})).scored()
        if all(torch.equal(before[n], after[n]) for n in before if n != name):
            yield warning(
                "model",
                "expected the data, or another site, to depend on it; got the same log p(x|…) "
                "whatever its value",
                why="the best guide of it is its prior, and it tells nothing about x",
                fix=f"give it to the likelihood: decoder({name})",
                site=name,
            )


def guide_that_sees_the_data(runs: Runs) -> Iterator[Finding]:
    """The guide's latents of a datum depend on the data."""
    other = runs.x[_companions(runs.x)]
    # Not the first run, in which parameters may have been drawn.
    first, run = runs.run("guide", runs.x.clone()), runs.run("guide", other)
    before, after = first.scored(), run.scored()
    for name, site in first.latents.items():
        same_sample = torch.equal(run.latents[name]["value"], site["value"])
        counts = name in runs.model.latents and -1 in plates(site)
        if counts and same_sample and torch.equal(before[name], after[name]):
            yield warning(
                "guide",
                "expected q to depend on x; got the same q for other data",
                why="q(z) is not q(z|x): one posterior for all data, or parameters of a place in "
                "the batch, which serve no other batch",
                fix="encoder(x) in the guide",
                site=name,
            )


def data_apart_in_the_guide(runs: Runs) -> Iterator[Finding]:
    """q(z|x) of a datum does not depend on the other data of the batch."""
    yield from _apart(runs, runs.guide)


def data_apart_in_the_model(runs: Runs) -> Iterator[Finding]:
    """p(x, z) of a datum does not depend on the other data of the batch."""
    yield from _apart(runs, runs.model)


def any_batch_size(runs: Runs) -> Iterator[Finding]:
    """The pair takes a batch of another size."""
    _check_whole(runs)
    half = len(runs.x) // 2
    if half < 2:
        raise Unchecked("there are fewer than four data")
    guide = runs.run("guide", runs.x[:half])
    for run in (guide, runs.run("model", runs.x[:half], given(guide.trace))):
        stuck = [n for n, site in run.sites.items() if len(runs.x) in _sizes(site)]
        if run.crash or stuck:
            told = f"at {names(stuck)}" if run.crash is None else run.crash.message.split("\n")[0]
            yield warning(
                run.program,
                f"expected a program for batches of any size; got one for {len(runs.x)} data that "
                f"{half} do not suit ({told})",
                why="the last batch of an epoch is smaller, and evaluation takes data in chunks of "
                "its own size",
                fix="x.shape[0] in the place of a number, in plates and in .expand or .reshape; "
                "an encoder in the place of parameters of each datum; covariates of each datum as "
                "columns of x, which the pair takes apart, in the place of a closure over them",
            )
            return


def _apart(runs: Runs, run: Run) -> Iterator[Finding]:
    """The first half of the data with their latents, once beside others and once beside itself."""
    _check_whole(runs)
    index = _companions(runs.x)
    values = _latents_at(runs, index)
    before = runs.run(run.program, runs.x.clone(), given(runs.guide.trace)).scored()
    after = runs.run(run.program, runs.x[index], given(runs.guide.trace, values)).scored()
    half = len(index) // 2
    coupled = [
        name
        for name, site in run.sites.items()
        if -1 in plates(site) and not _close(before[name][..., :half], after[name][..., :half])
    ]
    if coupled:
        parts = [n for n, m in runs.modules if m.training and isinstance(m, _JOINING)]
        told = f"; what joins data is {names(parts)}" if parts else ""
        yield warning(
            run.program,
            f"expected terms of each datum alone; got others in another batch{told}",
            why="a datum's bound depends on the batch it is in: numbers per datum (log_evidence, "
            "to_arviz) are not its own, and DReG refuses such a model",
            fix="for evaluation .eval(), after update_statistics where means are estimated; "
            "LayerNorm or GroupNorm in the place of batch normalisation",
            site=", ".join(coupled),
        )


_JOINING = (_BatchNorm, EstimatedMean)


def _check_whole(runs: Runs) -> None:
    if any(subsampled(site) for _, _, site in runs.sites()):
        raise Unchecked("a plate is subsampled")


def _sizes(site: Site) -> tuple[int | None, ...]:
    """The sizes of the plate over the data: what it enumerates, and of how many."""
    frame = plates(site).get(-1)
    return () if frame is None else (frame.size, frame.full_size)


def _prior_draw(runs: Runs, name: str) -> Tensor:
    """Another value of a site: a draw from its prior, the others given."""
    others = given(runs.model.trace)
    others.remove_node(name)
    run = runs.run("model", runs.x, others)
    if run.crash is not None:
        raise Unchecked(f"the model does not run on a draw of {name!r} from its prior")
    return run.latents[name]["value"]


def _companions(x: Tensor) -> Tensor:
    """The first half of the data, and the first half again in the place of the second."""
    half = len(x) // 2
    if half == 0:
        raise Unchecked("there is one datum only")
    index = torch.arange(len(x), device=x.device) % half
    if torch.equal(x[index], x):
        raise Unchecked("there are no two data that differ")
    return index


def _latents_at(runs: Runs, index: Tensor) -> dict[str, Tensor]:
    """The guide's latents of the data at ``index``."""
    found = {}
    for name, site in runs.guide.latents.items():
        sizes = _sizes(site)
        if sizes and sizes[0] != len(index):
            raise Unchecked("the plate at dim -1 is not over the data")
        if sizes:
            found[name] = site["value"].index_select(-1 - site["fn"].event_dim, index)
    return found


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)
