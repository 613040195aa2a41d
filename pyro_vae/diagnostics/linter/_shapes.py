"""Rules about shapes: what of a site is the batch, and what is one datum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyro_vae.diagnostics.linter._crash import finding_of
from pyro_vae.diagnostics.linter._findings import Finding, error, warning
from pyro_vae.diagnostics.linter._runs import Run, Runs, Site, family, plates, uncovered


def same_event_shapes(runs: Runs) -> Iterator[Finding]:
    """A latent site has one event shape in model and guide."""
    for name, (p, q) in runs.common().items():
        in_model, in_guide = p["fn"].event_shape, q["fn"].event_shape
        if in_model != in_guide and not uncovered(p) + uncovered(q):
            yield error(
                "model and guide",
                f"expected one event shape; got {tuple(in_model)} in the model and "
                f"{tuple(in_guide)} in the guide",
                why="the guide's sample is not one of the model's: it is broadcast, and log p(z) − "
                "log q(z|x) is the log of no ratio, or the next layer refuses it",
                fix=_to_fit(p, q),
                site=name,
            )


def declared_events(runs: Runs) -> Iterator[Finding]:
    """Every batch dimension of a site in the plate belongs to a plate."""
    for program, _, site in runs.sites():
        if -1 in plates(site) and (extra := uncovered(site)):
            yield _undeclared(program, site, -min(extra) - max(-dim for dim in plates(site)))
    for run in runs.both:
        refused = _mismatched(run)
        if refused is not None and (count := _event_dims(refused, runs)):
            yield _undeclared(run.program, refused, count)


def size_of_the_data_plate(runs: Runs) -> Iterator[Finding]:
    """The plate at dim −1 enumerates the data that are given."""
    frames = dict.fromkeys(f for site in _sites_in_plates(runs) for f in plates(site).values())
    fitting = [frame for frame in frames if _fits(frame, len(runs.x))]
    for frame in frames:
        if frame.dim == -1 and frame not in fitting:
            yield _of_groups(frame, fitting[0]) if fitting else _of_another_size(frame, runs)


def runs_at_all(runs: Runs) -> Iterator[Finding]:
    """Guide and model run on the data."""
    for run in runs.both:
        if run.crash is not None:
            yield finding_of(run.crash)


def _undeclared(program: str, site: Site, count: int) -> Finding:
    shape, frame = tuple(site["fn"].batch_shape), plates(site)[-1]
    of, declared = family(site["fn"])
    return error(
        program,
        f"expected a batch shape that plates enumerate, [{frame.size}] here; got {list(shape)}: "
        f"{count} dimension{'s' if count > 1 else ''} of one datum not declared as such",
        why="each element would be a datum of its own: Pyro refuses the shape, or, where sizes "
        "agree by chance, scores one datum with another's parameters",
        fix=f"dist.{of}(…).to_event({count + declared})",
        site=site["name"],
        plate=frame.name,
        dim=-1,
    )


def _of_another_size(frame: Any, runs: Runs) -> Finding:
    size = frame.full_size or frame.size
    return error(
        "model and guide",
        f"expected the size of the batch, {len(runs.x)}; got {size}",
        why="the plate enumerates the data that the programs are given. The size of the data set "
        "belongs to the trainer, or into a subsample",
        fix=f'pyro.plate("{frame.name}", x.shape[0], dim=-1)',
        plate=frame.name,
        dim=-1,
    )


def _of_groups(frame: Any, data: Any) -> Finding:
    return warning(
        "model and guide",
        f"expected the data, {data.size} of them, at dim -1; got them in plate {data.name!r} at "
        f"dim {data.dim}, and {frame.size} of something else at dim -1",
        why=f"a datum of bounds, weights and exports is then what plate {frame.name!r} enumerates",
        fix=f'pyro.plate("{data.name}", x.shape[0], dim=-1) and plate "{frame.name}" at dim=-2, '
        "unless that is meant",
        plate=frame.name,
        dim=-1,
    )


def _fits(frame: Any, rows: int) -> bool:
    """A plate over the data, over a subsample of them, or over a data set they are a batch of."""
    return rows in (frame.size, frame.full_size)


def _sites_in_plates(runs: Runs) -> Iterator[Site]:
    """Every site, also the one at which a program stopped."""
    for run in runs.both:
        yield from run.sites.values()
        if (site := _mismatched(run)) is not None:
            yield site


def _mismatched(run: Run) -> Site | None:
    """The site at which Pyro refused a batch shape, where it is in a plate over the data."""
    if run.crash is None or "Shape mismatch inside plate" not in run.crash.message:
        return None
    site = run.crash.site
    return site if site is not None and -1 in plates(site) else None


def _event_dims(site: Site, runs: Runs) -> int:
    """How many of a refused batch shape's last dimensions are those of one datum; 0: unknown."""
    shape, rows = site["fn"].batch_shape, plates(site)[-1].size
    for count in range(1, len(shape)):
        if shape[-1 - count] == rows:
            return count
    guide = runs.guide.latents.get(site["name"])
    event = () if guide is None else guide["fn"].event_shape
    return len(event) if event and shape[-len(event) :] == event else 0


def _to_fit(p: Site, q: Site) -> str:
    missing = len(q["fn"].event_shape) - len(p["fn"].event_shape)
    if missing == 0:
        return "make the prior's size and the encoder's outputs fit"
    short = p if missing > 0 else q
    of, declared = family(short["fn"])
    program = "model" if missing > 0 else "guide"
    return f"dist.{of}(…).to_event({abs(missing) + declared}) in the {program}"
