"""The experiment's figures, from saved results; nothing is trained here."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from experiments.toy2d.config import Config
from experiments.toy2d.evaluate import HALF_WIDTH, LATENT_HALF_WIDTH
from experiments.toy2d.jobs import folder_of
from experiments.toy2d.paper import PAPER
from pyro_vae import figures
from pyro_vae.data.densities import DENSITIES

__all__ = ["draw"]

_DENSITIES = (
    "{after}The true density of each data set, and those of the trained VAEs (seed 0), by "
    "importance sampling with {samples} latents a cell, whose noise is seen as speckles; one scale "
    "a row, that of the true density: what is above its greatest is drawn as that."
)
_LATENT = (
    "{after}{name}: first the data's plane, a colour for each place, as bright as the density "
    "there; then each VAE's latent plane [−3, 3]² (seed 0; of a flow prior the plane of its base) "
    "in the colours of the places it decodes to. Black decodes to where there are no data."
)


def draw(config: Config, root: Path) -> dict[str, str]:
    """Draw every figure into ``root / "figures"``; name → caption."""
    drawn: dict[str, tuple[Figure, str]] = {}
    for suffix, methods in _groups(config).items():
        of_paper = suffix == ""
        after = "After Yu, figures 1 (a), 2 (a) and 3 (a). " if of_paper else ""
        caption = _DENSITIES.format(after=after, samples=config.grid_samples)
        drawn[f"densities{suffix}.png"] = (_densities(config, methods, root), caption)
        for name in config.densities:
            after = "After Yu, figures 1 (b), 2 (b) and 3 (b). " if of_paper else ""
            caption = _LATENT.format(after=after, name=DENSITIES[name].name)
            drawn[f"latent_{name}{suffix}.png"] = (_latent(methods, root, name), caption)
    for name, (figure, _) in drawn.items():
        figures.save(figure, root / "figures" / name)
    return {name: caption for name, (_, caption) in drawn.items()}


def _groups(config: Config) -> dict[str, list[str]]:
    """The paper's methods and the others: a row of all is too wide for a page."""
    own = [method for method in config.methods if method in PAPER]
    others = [method for method in config.methods if method not in PAPER]
    return {suffix: group for suffix, group in (("", own), ("_beyond", others)) if group}


def _densities(config: Config, methods: list[str], root: Path) -> Figure:
    rows = {}
    for name in config.densities:
        found = {method: folder_of(root, (name, method, 0)).arrays() for method in methods}
        first = next(iter(found.values()))
        models = {method: grids["model"] for method, grids in found.items()}
        rows[DENSITIES[name].name] = {"true": first["true"], **models}
    return figures.density_rows(rows, half_width=HALF_WIDTH)


def _latent(methods: list[str], root: Path, name: str) -> Figure:
    found = {method: folder_of(root, (name, method, 0)).arrays() for method in methods}
    panels = {
        method: (grids["decoded"], grids["true_at_decoded"]) for method, grids in found.items()
    }
    true = next(iter(found.values()))["true"]
    return figures.latent_correspondence(
        true, panels, half_width=HALF_WIDTH, latent_half_width=LATENT_HALF_WIDTH
    )
