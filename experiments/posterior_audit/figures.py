"""The experiment's figures, from saved results; nothing is trained here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.jobs import slug
from experiments.markdown import minus
from experiments.posterior_audit.audits import APART, CHOSEN
from experiments.posterior_audit.config import Config
from experiments.posterior_audit.jobs import all_jobs, folder_of
from experiments.posterior_audit.methods import Method
from pyro_vae import figures

__all__ = ["draw"]

Arrays = Mapping[str, NDArray[Any]]
Drawn = Iterator[tuple[str, Figure, str]]

_JOINT = "log p(x, z)"
_HAT, _R_HAT = (f"{letter}\N{COMBINING CIRCUMFLEX ACCENT}" for letter in "kR")


def draw(config: Config, root: Path) -> dict[str, str]:
    """Draw every figure into ``root / "figures"``; name → caption."""
    found = {method: folder_of(root, method).arrays() for method in all_jobs(config)}
    results = {method: folder_of(root, method).result() for method in all_jobs(config)}
    captions = {}
    for name, figure, caption in _all(config, found, results):
        figures.save(figure, root / "figures" / name)
        captions[name] = caption
    return captions


def _all(
    config: Config, found: Mapping[Method, Arrays], results: Mapping[Method, Mapping[str, Any]]
) -> Drawn:
    for objective in config.objectives:
        own = {m.guide: arrays for m, arrays in found.items() if m.objective == objective}
        threshold = results[Method(config.guides[0], objective)]["threshold"]
        yield from _of_objective(objective, own, threshold)
    yield "gaps.png", _gaps(found), _GAPS
    along = _ALONG if len(config.objectives) > 1 else ""
    yield "rate_distortion.png", _plane(config, results), f"{_PLANE}{along}."
    first = config.objectives[0]
    for guide in config.guides:
        method = Method(guide, first)
        yield from _of_guide(method, found[method], results[method])
    method = Method(config.guides[0], first)
    yield "predictions.png", _predictions(found[method], results[method]), _PREDICTIONS


# -- guides beside one another ---------------------------------------------------------------------


def _of_objective(objective: str, own: Mapping[str, Arrays], threshold: float) -> Drawn:
    article = "the " if objective == "ELBO" else ""
    trained, name = f"guides trained by {article}{objective}", slug(objective)
    k = {guide: arrays["k"] for guide, arrays in own.items()}
    yield (
        f"k_{name}.png",
        figures.sorted_pareto_k(k, threshold=threshold),
        f"Pareto k\N{COMBINING CIRCUMFLEX ACCENT} of every test image, sorted: {trained}.",
    )
    covered = {guide: arrays["joint_coverage"] for guide, arrays in own.items()}
    first = next(iter(own.values()))
    yield (
        f"coverage_{name}.png",
        figures.coverage(covered, first["levels"], tuple(first["coverage_band"])),
        "How often the regions of highest density of q(z|x) hold the z that an image was made of: "
        f"{trained}. Below the band a guide is over-confident.",
    )
    ranks = {guide: _ranks_of_joint(arrays) for guide, arrays in own.items()}
    yield (
        f"ranks_{name}.png",
        figures.rank_ecdf(ranks, first["points"], tuple(first["ecdf_band"]), most=len(ranks)),
        f"Simulation-based calibration of {_JOINT}: the ECDF of its ranks less that of uniform "
        f"ones, {trained}.",
    )


def _ranks_of_joint(arrays: Arrays) -> NDArray[Any]:
    return arrays["ecdf"][:, arrays["ecdf_names"].tolist().index(_JOINT)]


_GAPS = (
    "What the ELBO of held-out images falls short of log p(x) by, and why: the encoder (the best q "
    "of its family, found for each image, would close that part), the family (a flow on top of it "
    "would), and what not even that closes. Whiskers: a standard error of the whole "
    "over the images."
)


def _gaps(found: Mapping[Method, Arrays]) -> Figure:
    return figures.inference_gaps(
        {
            method.name: {
                "encoder": arrays["held_out_amortisation_gap"],
                "family": arrays["held_out_approximation_gap"] - arrays["held_out_richer_gap"],
                "not closed": arrays["held_out_richer_gap"],
            }
            for method, arrays in found.items()
        }
    )


_PLANE = "After Alemi et al. (2018), figure 1: rate and distortion of each guide on the test images"
_ALONG = ", a line from one objective to the other"


def _plane(config: Config, results: Mapping[Method, Mapping[str, Any]]) -> Figure:
    def both(guide: str) -> tuple[NDArray[Any], NDArray[Any]]:
        own = [results[Method(guide, objective)] for objective in config.objectives]
        rate, distortion = (np.array([r[key] for r in own]) for key in ("rate", "distortion"))
        return rate, distortion

    return figures.rate_distortion_plane(
        {guide: both(guide) for guide in config.guides}, points=config.objectives
    )


# -- one guide -------------------------------------------------------------------------------------


def _of_guide(method: Method, arrays: Arrays, result: Mapping[str, Any]) -> Drawn:
    name = slug(method.guide)
    worst = {method.name: arrays["worst_decoded"]}
    yield (
        f"worst_{name}.png",
        figures.worst_images(arrays["worst"], worst, arrays["worst_k"]),
        f"The test images of largest k\N{COMBINING CIRCUMFLEX ACCENT}: {method.name}.",
    )
    if arrays["nuts_draws"].shape[-1] > 1:
        yield (
            f"nuts_{name}.png",
            _against_nuts(arrays, result["nuts"]),
            f"Draws of NUTS from p(z|x), and the contours that hold 50 and 90 % of the guide's "
            f"and of the best of its family: {method.name}. Three of the closely examined images, "
            f"of {', '.join(CHOSEN)} {_HAT}. Where {_R_HAT} is above {APART}, the chains have not "
            "mixed, and how many draws a mode has says little.",
        )
    yield (
        f"aggregate_{name}.png",
        figures.aggregate_marginals(arrays["aggregate"], normal=tuple(arrays["prior_normal"])),
        "The aggregate posterior of the test images against the density of the prior: "
        f"{method.name}.",
    )


def _against_nuts(arrays: Arrays, found: Mapping[str, Any]) -> Figure:
    panels = {
        _titled(each, arrays["k"][found["image"][i]], found["r_hat"][i]): (
            arrays["nuts_draws"][:, i, :2],
            {
                "guide": arrays["guide_draws"][:, i, :2],
                "best of its family": arrays["refined_draws"][:, i, :2],
            },
        )
        for i, each in enumerate(CHOSEN)
    }
    return figures.guide_against_nuts(panels)


def _titled(chosen: str, k: float, r_hat: float) -> str:
    """Which image a panel is of, and whether its chains are one."""
    mixed = ": not mixed" if r_hat > APART else ""
    return minus(f"{chosen} {_HAT}, {k:.2f}") + f"\n{_R_HAT} {r_hat:.2f}{mixed}"


_PREDICTIONS = (
    "Posterior predictive check of the first method: the ink of an image, and the share of "
    "neighbouring pixels that differ, beside those of images that the model makes of their latents."
)


def _predictions(arrays: Arrays, result: Mapping[str, Any]) -> Figure:
    names = result["statistics"]
    observed = dict(zip(names, arrays["observed"], strict=True))
    replicated = dict(zip(names, arrays["replicated"], strict=True))
    return figures.predictive_check(observed, replicated)
