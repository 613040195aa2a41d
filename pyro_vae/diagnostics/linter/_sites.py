"""Rules about which sites there are, and the plates they are in."""

from __future__ import annotations

from collections.abc import Iterator

from pyro_vae.diagnostics.linter._findings import Finding, error, warning
from pyro_vae.diagnostics.linter._runs import Run, Runs, Site, names, plates, uncovered


def no_data_in_the_guide(runs: Runs) -> Iterator[Finding]:
    """The guide observes nothing."""
    for name in runs.guide.observed:
        yield error(
            "guide",
            "expected no observed site; got one",
            why="the guide is q(z|x): what it observes is in no bound",
            fix="drop obs=… in the guide; observe data in the model",
            site=name,
        )


def latents_in_the_guide(runs: Runs) -> Iterator[Finding]:
    """The guide samples every latent site of the model."""
    for name, site in runs.model.latents.items():
        if name not in runs.guide.latents and not site["infer"].get("enumerate"):
            yield error(
                "guide",
                "expected a sample of every latent site of the model; got none of this one",
                why="it would be drawn from its prior, and the bound would be another model's",
                fix=f'pyro.sample("{name}", …) in the guide, or sum it out of the model',
                site=name,
            )


def latents_in_the_model(runs: Runs) -> Iterator[Finding]:
    """The model samples every site of the guide that is not auxiliary."""
    for name, site in runs.guide.latents.items():
        if name not in runs.model.latents and not site["infer"].get("is_auxiliary"):
            observed = name in runs.model.sites
            yield error(
                "model",
                "expected every site that the guide samples; got "
                + ("it observed" if observed else "none of this name"),
                why="log q of it is subtracted from the bound, and no log p stands against it",
                fix=f'pyro.sample("{name}", …) in the model, or, in the guide, '
                'infer={"is_auxiliary": True}',
                site=name,
            )


def some_data(runs: Runs) -> Iterator[Finding]:
    """The model observes something."""
    if not any(site["is_observed"] for site in runs.model.sites.values()):
        yield error(
            "model",
            "expected an observed site; got none",
            why="without data the best guide is the prior, whatever x is",
            fix='pyro.sample("x", …, obs=x)',
        )


def some_latents(runs: Runs) -> Iterator[Finding]:
    """There is something to infer."""
    if not runs.model.latents and not runs.guide.latents:
        yield error(
            "model and guide",
            "expected a latent site; got none",
            why="there is no posterior to infer: the bound is log p(x) itself",
            fix='pyro.sample("z", …) in both',
        )


def a_plate_over_the_data(runs: Runs) -> Iterator[Finding]:
    """The model has a plate over the data at dim −1."""
    if runs.model.sites and not _plated(runs.model):
        bare = [run.program for run in reversed(runs.both) if run.sites and not _plated(run)]
        looped = any(site["cond_indep_stack"] for site in runs.model.sites.values())
        yield error(
            " and ".join(bare),
            "expected a plate over the data at dim -1; got "
            + ("a plate that is iterated over" if looped else "none"),
            why="particles, bounds of each datum and exports cannot tell the data apart; with "
            "several particles the shapes are wrong",
            fix='with pyro.plate("data", x.shape[0], dim=-1): around every site',
        )


def batches_in_the_plate(runs: Runs) -> Iterator[Finding]:
    """No site has a batch outside of the plate over the data."""
    for program, name, site in runs.sites():
        if _plated(runs.model) and -1 not in plates(site) and uncovered(site):
            yield error(
                program,
                "expected it in the plate over the data; got a batch shape "
                f"{list(site['fn'].batch_shape)} outside of one",
                why="its log-probabilities are not lined up with those of the data: with several "
                "particles they are added to the wrong ones",
                fix=f'with pyro.plate("data", x.shape[0], dim=-1): pyro.sample("{name}", …)',
                site=name,
            )


def same_plates(runs: Runs) -> Iterator[Finding]:
    """A latent site is in the same plates in model and guide."""
    for name, (p, q) in runs.common().items():
        one, other = _sizes(p), _sizes(q)
        if _plated(runs.model) and one != other and not uncovered(p) + uncovered(q):
            yield error(
                "model and guide",
                f"expected it in the same plates; got sizes by dim {one} in the model and {other} "
                "in the guide",
                why="one of the two counts its log-probability more often than the other",
                fix='with pyro.plate("data", x.shape[0], dim=-1): around it in both',
                site=name,
            )


def sites_of_all_data(runs: Runs) -> Iterator[Finding]:
    """Every site is in the plate over the data."""
    if not _plated(runs.model):
        return
    for name, site in runs.model.sites.items():
        twin = runs.guide.sites.get(name)
        in_guide = () if twin is None else plates(twin)
        if -1 not in plates(site) and -1 not in in_guide and not uncovered(site):
            yield _global(name, site)


def plates_within_max_plate_nesting(runs: Runs) -> Iterator[Finding]:
    """Plates are no deeper than ``max_plate_nesting``."""
    depth = max((-d for _, _, site in runs.sites() for d in plates(site)), default=0)
    if depth > runs.max_plate_nesting:
        deep = names({n: None for _, n, site in runs.sites() if -depth in plates(site)})
        yield error(
            "model and guide",
            f"expected plates at dims down to {-runs.max_plate_nesting} (max_plate_nesting="
            f"{runs.max_plate_nesting}); got one at dim {-depth}, of {deep}",
            why="the particles' plate would be put where the pair has one of its own",
            fix=f"max_plate_nesting={depth}, here, in the objective and in the evaluation",
            dim=-depth,
        )


def _global(name: str, site: Site) -> Finding:
    observed = site["is_observed"]
    return warning(
        "model" if observed else "model and guide",
        "expected every site in the plate over the data; got one outside: "
        + ("the data are one datum to it" if observed else "a variable that all data share"),
        why="a bound that weighs samples (IWAE, Renyi, DReG) weighs whole batches, and is refused "
        "beside a subsample; to_arviz refuses the pair; "
        + (
            "no datum has a log p(x|z) of its own"
            if observed
            else "without a subsample every batch counts its whole KL"
        ),
        fix="put it in the plate; or keep it with ELBO and, for batches of N data, "
        'pyro.plate("data", N, subsample_size=len(x), dim=-1) in model and guide',
        site=name,
    )


def _plated(run: Run) -> bool:
    return any(-1 in plates(site) for site in run.sites.values())


def _sizes(site: Site) -> dict[int, int]:
    return {dim: frame.size for dim, frame in sorted(plates(site).items(), reverse=True)}
