"""Rules about the log-probabilities that the sites give."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pyro_vae.diagnostics.linter._crash import Crash, finding_of
from pyro_vae.diagnostics.linter._findings import Finding, error
from pyro_vae.diagnostics.linter._runs import Runs


def shape_of_values(runs: Runs) -> Iterator[Finding]:
    """What a site scores has the shape of what it would draw."""
    sites = {**runs.model.latents, **runs.model.observed}
    for name, site in sites.items():
        expected, got = tuple(site["fn"].shape()), tuple(torch.as_tensor(site["value"]).shape)
        if got != expected and got.count(1) < len(got):
            yield error(
                "model",
                f"expected values of shape {list(expected)}, [*batch, *event]; got {list(got)}",
                why="torch broadcasts the two: each value is scored with other data's parameters, "
                "and the sum has more terms than there are data",
                fix="reshape what is observed (x.squeeze(-1), x.flatten(1)), or the distribution",
                site=name,
            )


def scorable(runs: Runs) -> Iterator[Finding]:
    """Every site gives a log-probability."""
    for run in runs.both:
        for value in run.log_probs.values():
            if isinstance(value, Crash):
                yield finding_of(value)


def finite_log_probabilities(runs: Runs) -> Iterator[Finding]:
    """Every log-probability is a finite number."""
    for run in runs.both:
        for name, value in run.log_probs.items():
            if isinstance(value, Tensor) and not bool(value.isfinite().all()):
                yield _not_finite(run.program, name, value)


def _not_finite(program: str, name: str, value: Tensor) -> Finding:
    bad = ~value.isfinite()
    first = [int(place) for place in bad.nonzero()[0]]
    kind = "NaN" if bool(value.isnan().any()) else "an infinity"
    return error(
        program,
        f"expected finite log-probabilities; got {kind} at {int(bad.sum())} of {value.numel()} "
        f"places, the first of them {first}",
        why="the loss is no number, and the next step makes every weight NaN",
        fix="bound the parameters that the network gives (a least scale: softplus(raw) + 1e-3; "
        "logits in the place of probabilities)",
        site=name,
    )
