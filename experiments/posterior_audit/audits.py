"""What is found of one trained pair by each of the diagnostics: numbers, and arrays for figures."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Distribution

from experiments.posterior_audit.config import Config
from pyro_vae import VAE
from pyro_vae.diagnostics import (
    Container,
    Reliability,
    amortisation_audit,
    check_model,
    expected_coverage,
    log_density,
    nuts_reference,
    posterior_predictive_check,
    reliability,
    save,
    simulation_based_calibration,
    to_arviz,
    variational_sbc,
)
from pyro_vae.evaluation import (
    annealed_log_evidence,
    bidirectional_log_evidence,
    bound_terms,
    grid_log_evidence,
    information,
    log_evidence,
    quadrature_log_evidence,
)

__all__ = ["APART", "CHOSEN", "Audited", "audit"]

Found: TypeAlias = tuple[dict[str, Any], dict[str, Any]]

CHOSEN = ("low", "middle", "high")
"""Of the few images, by k̂: those that NUTS is run on."""

APART = 1.05
"""The R̂ above which chains are not of one distribution."""

_WORST = 12  # images that are shown
_IN_FILE, _DRAWS_IN_FILE = 32, 100  # of the arviz file
_SHOWN = 1_000  # draws of a guide beside those of NUTS
_NUTS_CHUNK = 200
_AGGREGATE = 10_000  # draws that are shown, at the least
_ON_A_GRID = 2  # latents
_MORE, _FINER = 5, 8  # times as many images as the few, and cells as quadrature begins with


@dataclass(frozen=True)
class Audited:
    """A trained pair, the data it is held against, and what of it goes to files.

    Args:
        vae: the pair.
        config: the settings.
        test: all test images, binarised once, [images, pixels].
        labels: of them, [images].
        few, few_trained: some of the test images, and as many of those trained on.
        image_shape: rows and columns.
        folder: for arviz's files.
    """

    vae: VAE
    config: Config
    test: Tensor
    labels: Tensor
    few: Tensor
    few_trained: Tensor
    image_shape: tuple[int, int]
    folder: Path

    @property
    def pair(self) -> tuple[nn.Module, nn.Module]:
        """Model and guide."""
        return self.vae.model, self.vae.guide

    @cached_property
    def weights(self) -> Reliability:
        """Of all test images: k̂ is of these draws wherever it is told, but for that of more
        draws beside other estimates of log p(x)."""
        return reliability(*self.pair, self.test, num_samples=self.config.weight_samples)


def audit(of: Audited) -> Found:
    """Everything that is asked of a pair, and the seconds each question took."""
    numbers: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    seconds: dict[str, float] = {}
    for name, ask in _AUDITS.items():
        started = time.perf_counter()
        found, more = ask(of)
        seconds[name] = time.perf_counter() - started
        numbers |= found
        arrays |= {key: _array(value) for key, value in more.items()}
    return {**numbers, "seconds": seconds}, arrays


def _array(value: Any) -> NDArray[Any]:
    array = value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array


# -- bounds and weights ----------------------------------------------------------------------------


def _linter(of: Audited) -> Found:
    return {"linter": [str(finding) for finding in check_model(*of.pair, of.few)]}, {}


def _bound(of: Audited) -> Found:
    options: dict[str, Any] = {
        "num_samples": of.config.bound_samples,
        "analytic_kl": of.vae.guide.capabilities.closed_form_kl,
        "batch_size": 200,
    }
    terms = bound_terms(*of.pair, of.test, **options)
    return dict(terms.mean()), {"bound_of_each": terms.bound}


def _weights(of: Audited) -> Found:
    found = of.weights
    worst = found.worst(min(_WORST, len(of.test)))
    numbers = {
        "log_evidence": found.log_evidence.double().mean().item(),
        "share_above": found.share_above,
        "threshold": found.threshold,
        "k_median": found.k.median().item(),
        "k_largest": found.k.max().item(),
        "ess_median": found.ess.median().item(),
    }
    return numbers, {
        "k": found.k,
        "label": of.labels,
        "log_evidence_of_each": found.log_evidence,
        "worst": of.test[worst].reshape(-1, *of.image_shape),
        "worst_decoded": of.vae.reconstruct(of.test[worst]).reshape(-1, *of.image_shape),
        "worst_k": found.k[worst],
    }


def _importance(of: Audited) -> Found:
    """log p(x) of the few from their weights, as they are and smoothed: of draws of their own."""
    samples = of.config.evidence_samples
    plain = log_evidence(*of.pair, of.few, num_samples=samples, seed=1)
    smoothed = reliability(*of.pair, of.few, num_samples=samples, seed=2)
    return {"few_threshold": smoothed.threshold}, {
        "is": plain.value,
        "is_error": plain.error,
        "psis": smoothed.log_evidence,
        "psis_error": smoothed.error,
        "few_k": smoothed.k,
    }


def _annealing(of: Audited) -> Found:
    found = annealed_log_evidence(*of.pair, of.few, seed=3, **_chains(of.config))
    numbers = {
        "annealed_acceptance": found.acceptance.double().mean().item(),
        "annealed_ess": found.ess.double().median().item(),
    }
    return numbers, {"ais": found.value, "ais_error": found.error}


def _quadrature(of: Audited) -> Found:
    """What the others are held against; of many latents there is none."""
    if of.config.latent > _ON_A_GRID:
        return {}, {}
    found = quadrature_log_evidence(of.vae.model, of.few, cells=of.config.cells)
    numbers = {"exact_change": found.error.max().item()}
    return numbers, {"exact": found.value}


def _grid(of: Audited) -> Found:
    """What models are compared by: of more images than the few, for which there is time so."""
    if of.config.latent > _ON_A_GRID:
        return {}, {}
    x, cells = of.test[: _MORE * of.config.few], _FINER * of.config.cells
    found = grid_log_evidence(of.vae.prior, of.vae.likelihood, x, cells=cells)
    return {}, {"grid": found.value, "grid_error": found.error}


def _sandwich(of: Audited) -> Found:
    x = of.few[: of.config.simulated]
    found = bidirectional_log_evidence(*of.pair, x, seed=4, **_chains(of.config))
    numbers = {"sandwich": found.mean_gap(), "sandwich_error": found.mean_gap_error()}
    return numbers, {"lower": found.lower.value, "upper": found.upper.value}


def _chains(config: Config) -> dict[str, Any]:
    return {"num_chains": config.chains, "num_temperatures": config.temperatures}


# -- gaps and calibration --------------------------------------------------------------------------


def _gaps(of: Audited) -> Found:
    config = of.config
    options: dict[str, Any] = {"steps": config.steps, "num_samples": config.weight_samples}
    held_out = amortisation_audit(*of.pair, of.few, seed=5, **options)
    trained = amortisation_audit(*of.pair, of.few_trained, seed=5, **options)
    compared = trained.compare(held_out)
    numbers: dict[str, Any] = {
        "gaps_in_words": held_out.summary(),
        "overfitting_in_words": compared.summary(),
        "overfitting": compared.amortisation,
        "overfitting_error": compared.amortisation_error,
    }
    arrays: dict[str, Any] = {}
    for when, found in {"held_out": held_out, "trained": trained}.items():
        for part in ("inference_gap", "amortisation_gap", "approximation_gap", "richer_gap"):
            numbers[f"{when}_{part}"] = getattr(found, part).mean()
            arrays[f"{when}_{part}"] = getattr(found, part).value
    nuts, of_nuts = _nuts(of, held_out.refined)
    return numbers | nuts, arrays | of_nuts


def _calibration(of: Audited) -> Found:
    config = of.config
    options: dict[str, Any] = {"num_simulations": config.simulations, "num_draws": config.draws}
    joint = {"log p(x, z)": log_density(of.vae.model)}
    x = of.test[: config.simulations]
    ranks = simulation_based_calibration(*of.pair, x, quantities=joint, seed=6, **options)
    symmetry = variational_sbc(*of.pair, x, seed=6, **options)
    covered = expected_coverage(*of.pair, x, seed=6, **options)
    levels = covered.levels.round(2).tolist()
    numbers = {
        "ranks": ranks.verdicts,
        "symmetry": symmetry.verdicts,
        "covered": covered.verdicts,
        "coverage": {
            name: dict(zip(map(str, levels), column.tolist(), strict=True))
            for name, column in zip(covered.names, covered.coverage.T, strict=True)
        },
    }
    return numbers, {
        "levels": covered.levels,
        "joint_coverage": covered.coverage[:, covered.names.index("joint")],
        "coverage_band": np.stack(covered.band()),
        "points": ranks.points,
        "ecdf": ranks.ecdf,
        "ecdf_names": np.array(ranks.names),
        "ecdf_band": np.stack(ranks.band()),
    }


def _predictions(of: Audited) -> Found:
    rows, columns = of.image_shape

    def differing(x: Tensor) -> Tensor:
        """The share of neighbouring pixels that differ: noise that no latent can fit."""
        images = x.reshape(len(x), rows, columns)
        return torch.cat(
            [images.diff(dim=1).abs().flatten(1), images.diff(dim=2).abs().flatten(1)], 1
        ).mean(1)

    statistics: dict[str, Callable[[Tensor], Tensor]] = {
        "ink": lambda x: x.mean(1),
        "edges": differing,
    }
    found = posterior_predictive_check(
        *of.pair, of.few, statistics, num_draws=of.config.replicates, seed=7
    )
    arrays = {"observed": found.observed, "replicated": found.replicated}
    return {"predictions": found.verdicts, "statistics": list(found.names)}, arrays


# -- latents ---------------------------------------------------------------------------------------


def _information(of: Audited) -> Found:
    found = information(*of.pair, of.test, num_draws=of.config.aggregate_draws, seed=8)
    numbers = {
        "rate": found.rate.value,
        "distortion": found.distortion.value,
        "mutual_information": found.mutual_information.value,
        "mutual_information_upper": found.mutual_information_upper.value,
        "marginal_kl": found.marginal_kl.value,
        "marginal_kl_error": found.marginal_kl.error,
        "outside": found.outside,
        "hole": found.hole,
        "active": found.active.count,
        "information_in_words": found.summary(),
    }
    return numbers, {"aggregate": _of_each(of), "prior_normal": _normal(of.vae.prior())}


def _of_each(of: Audited) -> Tensor:
    """As many draws of each test image's posterior: together, of the aggregate posterior."""
    rounds = math.ceil(_AGGREGATE / len(of.test))
    with torch.no_grad(), torch.random.fork_rng([]):
        torch.manual_seed(10)
        return torch.cat([of.vae.guide(of.test) for _ in range(rounds)])


def _normal(prior: Distribution) -> Tensor:
    """Means and deviations, [2, latent]: every prior here is a normal."""
    return torch.stack([prior.mean, prior.stddev]).detach()


def _nuts(of: Audited, refined: nn.Module) -> Found:
    """Chains on chosen images, and the guide's draws and the best of its family's beside them."""
    k = of.weights.k[: len(of.few)]
    chosen = k.argsort()[[0, len(k) // 2, -1]]
    x = of.few[chosen]
    reference = _reference(of, x)
    save(reference, of.folder / "nuts.nc")
    of_nuts = reference.posterior["z"].values  # [chain, draw, datum, latent]
    of_nuts = of_nuts.reshape(-1, *of_nuts.shape[2:])
    of_guide, of_refined = (_draws(of.vae.model, g, x) for g in (of.vae.guide, refined))
    found = {
        **_of_chains(reference.sample_stats),
        "guide": _against(of_guide, of_nuts),
        "refined": _against(of_refined, of_nuts),
    }
    arrays = {"nuts_draws": of_nuts, "guide_draws": of_guide, "refined_draws": of_refined}
    return {"nuts": {"image": chosen.tolist(), **found}}, arrays


def _reference(of: Audited, x: Tensor) -> Container:
    """In double precision, which trajectories of long steps need."""
    exact, config = copy.deepcopy(of.vae).double(), of.config
    return nuts_reference(
        exact.model,
        x.double(),
        guide=exact.guide,
        num_samples=config.nuts_draws,
        warmup=config.nuts_draws,
        num_chains=config.nuts_chains,
        seed=9,
    )


def _of_chains(stats: Any) -> dict[str, list[float]]:
    """Of each datum, in its worst dimension."""
    return {
        "r_hat": stats["r_hat_z"].values.max(-1).tolist(),
        "ess": stats["ess_z"].values.min(-1).tolist(),
        "divergences": stats["diverging"].values.sum((0, 1)).tolist(),
    }


def _draws(model: nn.Module, guide: nn.Module, x: Tensor) -> NDArray[Any]:
    """z of a guide, [draw, datum, latent]."""
    found = to_arviz(model, guide, x, _SHOWN, predictive=False, seed=0, chunk_size=_NUTS_CHUNK)
    return np.asarray(found.posterior["z"].values[0])


def _against(draws: NDArray[Any], truth: NDArray[Any]) -> dict[str, list[float]]:
    """Of each datum: how far the mean is off, in the truth's deviations, in the worst dimension;
    and the root of the ratio of generalised variances, a latent, 1 where widths agree."""
    off = np.abs(draws.mean(0) - truth.mean(0)) / truth.std(0)
    width = [_log_volume(d) - _log_volume(t) for d, t in _pairs(draws, truth)]
    return {
        "mean_off": off.max(-1).tolist(),
        "width": np.exp(np.array(width) / draws.shape[-1]).tolist(),
    }


def _pairs(draws: NDArray[Any], truth: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Of each datum, [draw, latent] both."""
    return zip(np.moveaxis(draws, 1, 0), np.moveaxis(truth, 1, 0), strict=True)


def _log_volume(draws: NDArray[Any]) -> float:
    """½ log det of the covariance of [draw, latent]."""
    return 0.5 * float(np.linalg.slogdet(np.atleast_2d(np.cov(draws.T)))[1])


def _file(of: Audited) -> Found:
    """The posteriors as arviz has them, for whoever wants to look further."""
    x = of.test[:_IN_FILE]
    found = to_arviz(*of.pair, x, _DRAWS_IN_FILE, labels=of.labels[:_IN_FILE], seed=0)
    save(found, of.folder / "posterior.nc")
    return {}, {}


_AUDITS: dict[str, Callable[[Audited], Found]] = {
    "linter": _linter,
    "bound": _bound,
    "k\N{COMBINING CIRCUMFLEX ACCENT}": _weights,
    "importance sampling": _importance,
    "annealing": _annealing,
    "quadrature": _quadrature,
    "grid": _grid,
    "bounds from both sides": _sandwich,
    "gaps and NUTS": _gaps,
    "calibration": _calibration,
    "predictions": _predictions,
    "information": _information,
    "arviz file": _file,
}
"""By name: a question."""
