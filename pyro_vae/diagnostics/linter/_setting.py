"""Rules about what surrounds the pair: settings, modes and data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from pyro_vae.diagnostics.linter._findings import Finding, error, warning
from pyro_vae.diagnostics.linter._runs import Runs, names
from pyro_vae.diagnostics.linter._untouched import VALIDATION


def validation_off(runs: Runs) -> Iterator[Finding]:
    """Arguments of distributions and shapes of sites are validated."""
    if off := [name for name in VALIDATION if not runs.settings[name]]:
        yield warning(
            "pyro",
            f"expected validation on, while a pair is new; got {names(off)} off",
            why="wrong shapes, parameters and data then pass unseen; some libraries switch it off "
            "for everyone when they are imported (zuko does). For this check it was on",
            fix="pyro.enable_validation(True)",
        )


def local_parameters(runs: Runs) -> Iterator[Finding]:
    """SVI can be used."""
    if runs.settings["module_local_params"]:
        yield warning(
            "pyro",
            "expected the setting module_local_params off; got it on",
            why="pyro.infer.SVI ends in an exception with it",
            fix="pyro.settings.set(module_local_params=False), or train with fit",
        )


def evaluation_mode_parts(runs: Runs) -> Iterator[Finding]:
    """No dropout or batch normalisation is in evaluation mode."""
    kinds = (_DropoutNd, _BatchNorm)
    parts = [n for n, m in runs.modules if isinstance(m, kinds) and not m.training]
    if parts:
        yield warning(
            "model and guide",
            f"expected dropout and batch normalisation in training mode; got {names(parts)} in "
            "evaluation mode",
            why="right for evaluation; in training it means no dropout, and statistics of a "
            "population in the place of the batch's",
            fix="model.train(); guide.train() before training",
        )


def finite_data(runs: Runs) -> Iterator[Finding]:
    """No datum is NaN or infinite, unless the pair masks it."""
    bad = ~torch.isfinite(runs.x).reshape(len(runs.x), -1).all(1)
    if bool(bad.any()) and not _copes(runs):
        yield error(
            "x",
            f"expected finite values; got NaN or an infinity in {int(bad.sum())} of {len(bad)} "
            f"data, the first of them datum {int(bad.nonzero()[0, 0])}",
            why="the bound of the whole batch is NaN, and the next step makes every weight NaN",
            fix="x = x[x.isfinite().flatten(1).all(1)]; or, for missing values, fill them and "
            "leave them out of the density with pyro.poutine.mask",
        )


def data_unchanged(runs: Runs) -> Iterator[Finding]:
    """The programs leave the data as they are."""
    for run in runs.both:
        if run.changed_data:
            yield error(
                run.program,
                "expected the data to be read; got them changed in place",
                why="every epoch sees other data, and the model scores what the guide left",
                fix="work on a copy, x = x.clone(), or without the trailing underscore: x.clamp(…)",
            )


def _copes(runs: Runs) -> bool:
    """Whether the pair gives finite numbers all the same."""
    if runs.crashed:
        return False
    scores = [value for run in runs.both for value in run.log_probs.values()]
    return all(isinstance(value, Tensor) and bool(value.isfinite().all()) for value in scores)
