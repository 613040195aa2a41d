"""Rules about what multiplies log-probabilities: subsampled plates and ``poutine.scale``."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import torch

from pyro_vae.diagnostics.linter._findings import Finding, error, warning
from pyro_vae.diagnostics.linter._runs import Runs, Site, names, plates, subsampled


def same_scale_of_a_latent(runs: Runs) -> Iterator[Finding]:
    """log p(z) and log q(z|x) of a site are multiplied by the same number."""
    for name, (p, q) in runs.common().items():
        if not _equal(p["scale"], q["scale"]):
            yield error(
                "model and guide",
                f"expected one scale; got {_told(p)} in the model and {_told(q)} in the guide",
                why="the difference of the two is then no KL: the gradient pulls q to something "
                "else than the posterior",
                fix='the same pyro.plate("data", size, subsample_size=…) or poutine.scale in both',
                site=name,
            )


def same_scale_of_all(runs: Runs) -> Iterator[Finding]:
    """All sites are multiplied by the same number."""
    sites = {name: site for _, name, site in runs.sites()}
    if _even(sites) or _uneven_latents(runs):
        return
    told = ", ".join(f"{_told(site)} at {name!r}" for name, site in sites.items())
    by_plates = all(_equal(site["scale"], _of_plates(site)) for site in sites.values())
    if by_plates:
        what = "a subsampled plate beside sites outside it"
        why = "right for ELBO; a bound that weighs samples (IWAE, Renyi, DReG) is refused"
        fix = "every site in the subsampled plate, or ELBO"
    else:
        what = "poutine.scale at some sites"
        why = (
            "what is reported is no bound on log p(x), and models cannot be compared by it; "
            "bounds that weigh samples (IWAE, Renyi, DReG) refuse the pair"
        )
        fix = "ELBO(beta=…) for a weighted KL: it reports the bound all the same"
    yield warning(
        "model and guide", f"expected one scale for all; got {told}: {what}", why=why, fix=fix
    )


def no_scale(runs: Runs) -> Iterator[Finding]:
    """Log-probabilities are those of the data given."""
    sites = {name: site for _, name, site in runs.sites()}
    first = next(iter(sites.values()), None)
    if first is None or not _even(sites) or _uneven_latents(runs) or _equal(first["scale"], 1.0):
        return
    yield warning(
        "model and guide",
        f"expected log-probabilities as they are; got all multiplied by {_told(first)} "
        f"({names(sites)})",
        why="pyro.infer.RenyiELBO takes the factor into its logarithm, and what it reports is no "
        "bound; Trace_ELBO and this library's objectives multiply the sum of the bounds by it, "
        "which changes the size of losses and, through the optimiser, clipping and decay",
        fix='pyro.plate("data", x.shape[0], dim=-1), and the average over the batch left to the '
        "trainer (fit does that); with a subsample IWAE in the place of RenyiELBO",
    )


def _even(sites: dict[str, Site]) -> bool:
    scales = [site["scale"] for site in sites.values()]
    return all(_equal(scale, scales[0]) for scale in scales)


def _uneven_latents(runs: Runs) -> bool:
    return any(not _equal(p["scale"], q["scale"]) for p, q in runs.common().values())


def _equal(one: Any, other: Any) -> bool:
    return bool(torch.isclose(_number(one), _number(other), rtol=1e-6).all())


def _number(scale: Any) -> torch.Tensor:
    return torch.as_tensor(scale).detach().double().cpu()


def _of_plates(site: Site) -> float:
    """N/B of the site's plates."""
    frames = plates(site).values()
    return prod((frame.full_size or frame.size) / frame.size for frame in frames)


def _told(site: Site) -> str:
    scale = _number(site["scale"])
    value = f"{scale.item():.6g}" if scale.numel() == 1 else "several numbers"
    if not subsampled(site):
        return value if _equal(scale, 1.0) else f"{value} (poutine.scale)"
    parts = [
        f"{f.full_size}/{f.size} of plate {f.name!r}"
        for f in plates(site).values()
        if f.full_size not in (None, f.size)
    ]
    return f"{value} ({', '.join(parts)})"
