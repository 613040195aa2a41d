"""Why a posterior is off, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.markdown import minus, number, table
from experiments.posterior_audit.audits import APART, CHOSEN
from experiments.posterior_audit.config import Config
from experiments.posterior_audit.report.verdicts import HAT, Arrays, Found
from pyro_vae.diagnostics import CalibrationResult

__all__ = ["calibration", "gaps", "latents", "nuts"]

_CONFIDENCE = 0.95  # of the calibration's tests
_R_HAT = "R\N{COMBINING CIRCUMFLEX ACCENT}"


def gaps(config: Config, found: Found, arrays: Arrays) -> str:
    """The parts of log p(x) − ELBO, of held-out and of training data."""
    exact = all("exact" in own for own in arrays.values())
    head = ["method", "gap", "encoder", "family", "left with a flow"]
    head += [*(["elsewhere"] if exact else []), "gap in training"]
    head += ["encoder: held-out less training", "verdict"]
    rows = [
        [
            method.name,
            *(
                minus(f"{r[f'held_out_{part}_gap']:.3f}")
                for part in ("inference", "amortisation", "approximation", "richer")
            ),
            *([_elsewhere(arrays[method])] if exact else []),
            minus(f"{r['trained_inference_gap']:.3f}"),
            minus(f"{r['overfitting']:+.3f}") + f" ± {number(r['overfitting_error'])}",
            _cause(r),
        ]
        for method, r in found.items()
    ]
    about = (
        f"log p(x) − ELBO of {config.few} test images, and of as many of those trained on, in "
        "nats. *Encoder*: what the best q of the family, searched for from the encoder's for each "
        "image, gains on it; *family*: what that is still short of; *left with a flow*: of the "
        f"latter, with a flow on top{_ELSEWHERE if exact else ''}. The last numbers: whether the "
        "encoder is worse on images that it was not trained on, ± a standard error over the images."
    )
    return f"{about}\n\n{table(head, rows, 'l' + 'r' * (len(head) - 2) + 'l')}"


_ELSEWHERE = (
    "; *elsewhere*: what the exact log p(x) has beyond the gap, in modes to which neither a search "
    "nor draws come from where the encoder is, and so the encoder's doing too"
)


def _elsewhere(of: Mapping[str, NDArray[Any]]) -> str:
    """The exact log p(x) less what was found of it, which is the bound and the gap."""
    found = of["bound_of_each"][: len(of["exact"])] + of["held_out_inference_gap"]
    return minus(f"{(of['exact'] - found).astype(float).mean():.3f}")


def _cause(result: Mapping[str, Any]) -> str:
    """The first words of the audit's verdict."""
    verdict = result["gaps_in_words"].splitlines()[2]
    cause = verdict.split(":")[0].split(".")[0].lower()
    too_little = result["overfitting_in_words"].splitlines()[1].startswith("Too little data")
    return f"{cause}; too little data" if too_little else cause


def nuts(config: Config, found: Found, arrays: Arrays) -> str:
    """The guide and the best of its family beside chains."""
    head = ["method", HAT, "place", f"largest {_R_HAT}", "least ess"]
    head += ["guide: mean off", "width", "best of its family: mean off", "width"]
    rows = [
        [
            f"{method.name}: {CHOSEN[i]}",
            minus(f"{arrays[method]['k'][r['nuts']['image'][i]]:.2f}"),
            str(_place(config, r, arrays[method], i)),
            f"{r['nuts']['r_hat'][i]:.3f}",
            f"{r['nuts']['ess'][i]:.0f}",
            *(
                f"{r['nuts'][who][what][i]:.2f}"
                for who in ("guide", "refined")
                for what in ("mean_off", "width")
            ),
        ]
        for method, r in found.items()
        for i in range(len(CHOSEN))
    ]
    diverging = sum(sum(r["nuts"]["divergences"]) for r in found.values())
    about = (
        f"Of the {config.few} test images, three of a low, a middle and a high {HAT}; *place*: "
        f"among those of the {config.few}, the lowest first.{_chosen(config, found, arrays)} "
        f"{config.nuts_chains} chains of {config.nuts_draws} "
        "draws each, in double precision. *Mean off*: from NUTS's mean, in NUTS's standard "
        "deviations, in the worst dimension. *Width*: that of q over that of NUTS, a latent, by "
        f"the determinants of their covariances. {diverging} draws diverged.{_apart(found)}"
    )
    return f"{about}\n\n{table(head, rows, 'l' + 'r' * 8)}"


def _place(
    config: Config, result: Mapping[str, Any], of: Mapping[str, NDArray[Any]], chosen: int
) -> int:
    k = of["k"][: config.few]
    return int((k < k[result["nuts"]["image"][chosen]]).sum()) + 1


def _chosen(config: Config, found: Found, arrays: Arrays) -> str:
    """What older runs did: k̂ of other draws chose."""
    ends = {_place(config, r, arrays[m], 0) for m, r in found.items()}
    if ends == {1}:
        return ""
    return (
        " They were chosen by weights drawn once more, and so a low one is not always the first "
        f"here: {HAT} itself depends on the draws."
    )


def _apart(found: Found) -> str:
    chains = [
        (r_hat, ess)
        for r in found.values()
        for r_hat, ess in zip(r["nuts"]["r_hat"], r["nuts"]["ess"], strict=True)
    ]
    apart = [ess for r_hat, ess in chains if r_hat > APART]
    if not apart:
        return ""
    draws = " to ".join(f"{ess:.0f}" for ess in sorted({min(apart), max(apart)}))
    return (
        f" In {len(apart)} of {len(chains)} rows {_R_HAT} is above {APART}: the chains had not "
        f"mixed, whether between modes or within one. Of {draws} effective draws, what these rows "
        "say of guides is a hint at the most."
    )


def calibration(config: Config, found: Found, arrays: Arrays) -> str:
    """Verdicts of three tests on simulated data."""
    rows = [
        [
            method.name,
            _verdicts(_of_ranks(config, arrays[method])),
            _verdicts(r["symmetry"]),
            _verdicts(r["covered"]),
        ]
        for method, r in found.items()
    ]
    about = (
        f"On {config.simulations:,} images that each model made of its own prior, {config.draws} "
        "draws each: the latents' ranks and that of log p(x, z) among draws of q (simulation-based "
        "calibration), symmetry of the errors (VSBC), and coverage of each latent and of all "
        "jointly. Each test is at 95 % for all its quantities. A trained guide is only nearly "
        "right, and fails given enough simulations: the table at the top says by how much."
    )
    head = ["method", "ranks", "symmetry", "coverage"]
    return f"{about}\n\n{table(head, rows, 'llll')}"


def _of_ranks(config: Config, of: Mapping[str, NDArray[Any]]) -> Mapping[str, str]:
    """What the library says of the ranks whose ECDF is kept; their order tells nothing."""
    below = np.rint(of["ecdf"].astype(float) * config.simulations).astype(int)
    counts = np.diff(below, axis=0, prepend=0, append=config.simulations)
    ranks = np.stack([np.repeat(np.arange(len(each)), each) for each in counts.T], axis=1)
    names = tuple(map(str, of["ecdf_names"]))
    return CalibrationResult(names, _CONFIDENCE, ranks, config.draws).verdicts


def _verdicts(found: Mapping[str, str]) -> str:
    faults = [f"{name} {verdict}" for name, verdict in found.items() if verdict != "calibrated"]
    return ", ".join(faults) or "calibrated"


def latents(found: Found) -> str:
    """Rate and distortion, what is shared, what the prior misses, and what the model makes."""
    head = ["method", "rate", "distortion", "I(x; z)", "KL(q(z) ‖ p(z))", "prior outside"]
    head += ["active", "ink", "edges"]
    rows = [
        [
            method.name,
            f"{r['rate']:.2f}",
            f"{r['distortion']:.2f}",
            f"{r['mutual_information']:.2f} to {r['mutual_information_upper']:.2f}",
            minus(f"{r['marginal_kl']:.3f}") + f" ± {number(r['marginal_kl_error'])}",
            f"{100 * r['outside']:.1f} %" + ", a hole" * r["hole"],
            str(r["active"]),
            *(r["predictions"][each] for each in ("ink", "edges")),
        ]
        for method, r in found.items()
    ]
    about = (
        "Of all test images, nats an image. *Prior outside*: the share of the prior's draws where "
        "hardly any posterior is, about 1 % where the aggregate posterior is the prior. *Ink* and "
        "*edges*: whether images that the model makes of the posteriors have as much of either as "
        "the data (posterior predictive check)."
    )
    return f"{about}\n\n{table(head, rows, 'l' + 'r' * 6 + 'll')}"
