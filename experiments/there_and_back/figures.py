"""The experiment's figures, from saved results; nothing is trained here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.there_and_back.config import Config
from experiments.there_and_back.jobs import folder_of
from experiments.there_and_back.variants import STUDIES, Variant
from pyro_vae import figures

__all__ = ["draw", "label"]

Arrays = dict[Variant, dict[str, NDArray[Any]]]
Drawn = Iterator[tuple[str, Callable[[], Figure | None], str]]


def draw(config: Config, root: Path) -> dict[str, str]:
    """Draw every figure of the studies into ``root / "figures"``; name → caption."""
    captions = {}
    for study in config.studies:
        for name, make, caption in _DRAWN.get(study, _nothing)(config, root):
            if (figure := make()) is not None:
                figures.save(figure, root / "figures" / name)
                captions[name] = caption
    return captions


def label(variant: Variant) -> str:
    """A variant as figures and tables call it."""
    told = variant.likelihood
    if "BAGGINS" in told:
        told += f", τ = {_number(variant.tau)}"
    if variant.scale != 1:
        told += f", λ = {_number(variant.scale)}"
    if not variant.own_unit:
        told += ", seen so"
    return told


def _titles(panels: Iterable[Variant]) -> list[str]:
    """Their labels, with λ = 1 too where other panels have a λ, without what all of them say."""
    panels = list(panels)
    scaled = any(v.scale != 1 for v in panels)
    parts = [label(v).split(", ") + ["λ = 1"] * (scaled and v.scale == 1) for v in panels]
    same = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    return [", ".join(p for p in own if p not in same) for own in parts]


def _number(value: float) -> str:
    """A number, as a fraction where it is one over a whole number."""
    return f"1/{1 / value:g}" if value < 1 and (1 / value).is_integer() else f"{value:g}"


def _nothing(config: Config, root: Path) -> Drawn:
    yield from ()


def _finished(root: Path, variants: Iterator[Variant]) -> Arrays:
    """The arrays of those whose training did not fail."""
    found = {variant: folder_of(root, variant) for variant in variants}
    return {
        variant: folder.arrays()
        for variant, folder in found.items()
        if "failed" not in folder.result()
    }


# -- likelihoods -----------------------------------------------------------------------------------


def _scales(config: Config, root: Path) -> Drawn:
    found = _finished(root, STUDIES["scales"](config))
    wide = {v: a for v, a in found.items() if v.latent == config.wide}
    plain = {v: a for v, a in wide.items() if v.likelihood in ("learned T", "T = I")}
    yield (
        "samples_constant.png",
        partial(_samples, plain),
        f"After Fyffe, figure 6 (a): generated images, {config.wide} latents, learned T and T = I "
        "under data times λ; each in the data's own unit.",
    )
    bounded = {v: a for v, a in wide.items() if v.likelihood == "BAGGINS" and v.seed == 0}
    yield (
        "samples_baggins.png",
        partial(_samples, {v: a for v, a in bounded.items() if v.own_unit}),
        "After figure 6 (b): the same for BAGGINS, the networks in the data's unit.",
    )
    yield (
        "samples_baggins_seen.png",
        partial(_samples, {v: a for v, a in bounded.items() if not v.own_unit}),
        "The same where the networks see the data times λ, and must decode them so.",
    )
    flat = {v: a for v, a in found.items() if v.latent == 2 and v.likelihood == "T = I"}
    yield (
        "means_constant.png",
        partial(_means, flat),
        "After figure 10: posterior means of the test set, coloured by label, T = I under data "
        "times λ. Where they are one point, or a cloud of no size, latents say nothing: T is more "
        "noise than the data have signal.",
    )
    one = {v: a for v, a in flat.items() if v.scale == 1}
    yield from _manifolds(one, "manifold_constant.png", "After figure 14, T = I")


def _taus(config: Config, root: Path) -> Drawn:
    found = _finished(root, STUDIES["taus"](config))
    wide = {v: a for v, a in found.items() if v.latent == config.wide}
    yield (
        "samples_tau.png",
        partial(_samples, wide),
        f"After figure 6 (c): generated images for several information factors τ, {config.wide} "
        "latents.",
    )
    flat = {v: a for v, a in found.items() if v.latent == 2}
    yield (
        "means_tau.png",
        partial(_means, flat),
        "After figure 11: posterior means, BAGGINS with several τ.",
    )
    one = {v: a for v, a in flat.items() if v.tau == 1}
    yield from _manifolds(one, "manifold_baggins.png", "After figure 15, BAGGINS with τ = 1")


def _samples(found: Arrays) -> Figure | None:
    """None where no training came to its end."""
    if not found:
        return None
    grids = [arrays["generated"] for arrays in found.values()]
    return figures.image_grid(dict(zip(_titles(found), grids, strict=True)))


def _means(found: Arrays) -> Figure | None:
    if not found:
        return None
    clouds = [(arrays["mean"], arrays.get("label")) for arrays in found.values()]
    return figures.posterior_means(dict(zip(_titles(found), clouds, strict=True)))


def _manifolds(found: Arrays, name: str, what: str) -> Drawn:
    for arrays in found.values():
        drawn = (arrays["manifold"], arrays["mean"], arrays["z"], arrays.get("label"))
        about = (
            f"{what}: images decoded over the prior's quantiles; posterior means (upper right) and "
            "one sample from each posterior (lower right)."
        )
        yield name, partial(figures.latent_manifold, *drawn), about


# -- posteriors ------------------------------------------------------------------------------------


def _deviations(config: Config, root: Path) -> Drawn:
    found = _finished(root, STUDIES["deviations"](config))
    panels = {
        f"σ = {_number(v.deviation or 0)}": (arrays["mean"], arrays.get("label"))
        for v, arrays in found.items()
    }
    yield (
        "means_deviation.png",
        partial(figures.posterior_means, panels) if panels else lambda: None,
        "After figure 9: posterior means, Bernoulli likelihood, BILBO with Σ = σ² I.",
    )


def _start(config: Config, root: Path) -> Drawn:
    variants = list(STUDIES["start"](config))
    for factor in config.factors:
        curves: dict[str, NDArray[np.float64]] = {}
        epochs = np.array([])
        for deviation in (None, *config.deviations):
            own = [v for v in variants if (v.factor, v.deviation) == (factor, deviation)]
            records = [_curve(root, v) for v in own]
            epochs = np.array(list(records[0]))
            name = "learned Σ" if deviation is None else f"σ = {_number(deviation)}"
            curves[name] = np.array([list(record.values()) for record in records])
        if len(epochs) > 1:
            yield (
                f"start_{_number(factor).replace('/', '_')}.png",
                partial(figures.bound_during_training, curves, epochs),
                f"After figure 8: the bound on the test set during training, the encoder's means "
                f"times {_number(factor)} and the decoder's latents divided by it; BILBO with "
                f"Σ = σ² I, and learned Σ. The line is the mean and the band the range over "
                f"{config.seeds} seeds.",
            )


def _curve(root: Path, variant: Variant) -> dict[int, float]:
    records = folder_of(root, variant).result()["history"]
    return {r["epoch"]: r["validation"] for r in records if r["validation"] is not None}


_DRAWN: dict[str, Callable[[Config, Path], Drawn]] = {
    "scales": _scales,
    "taus": _taus,
    "deviations": _deviations,
    "start": _start,
}
