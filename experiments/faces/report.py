"""The report: what constant variances cost on faces, and what priors show of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.faces.config import Config
from experiments.faces.evaluate import DRAWS, USUAL
from experiments.faces.jobs import folder_of
from experiments.faces.methods import BASELINE, METHODS
from experiments.machine import machines
from experiments.markdown import figure, minus, number, table

__all__ = ["report"]

_NAMES = {"frey": "the Frey faces", "celeba": "CelebA"}


def report(config: Config, root: Path, captions: Mapping[str, str], command: str) -> str:
    """The Markdown of ``report.md``.

    Args:
        config: the settings.
        root: the run folder.
        captions: of the figures, by name.
        command: that makes this run.
    """
    results = {method: folder_of(root, method).result() for method in METHODS}
    curves = {method: _curve(result) for method, result in results.items()}
    parts = [
        f"# Faces, with learned and constant variances: {_NAMES[config.data]}",
        _QUESTION,
        "## Result",
        _table(root, results),
        _stopping(curves),
        "\n".join(f"- {verdict}" for verdict in _verdicts(config, root, results, curves)),
        "## Samples",
        _SAMPLES,
        _sample_table(results),
        _usual(results),
        "## What the numbers are",
        _MEANING,
        "## What was run",
        _settings(config, results, command),
        "## Figures",
        *(figure(name, caption) for name, caption in captions.items()),
    ]
    return "\n\n".join(parts) + "\n"


Results = Mapping[str, Mapping[str, Any]]

_QUESTION = (
    "Fyffe (*There and Back Again*, section 7.1) trains a convolutional VAE on CelebA with learned "
    "posterior variances and the ELBO, and with constant ones and the BILBO, and finds both alike "
    "in bound, loss and pictures; that with Σ = I the optimal prior is wide (tr S² near 25,000), "
    "for which Σ = I/100 suits better; and that draws from N(0, I) vary less than those from the "
    "optimal prior. The same is measured here."
)
_MEANING = (
    "Nats an image, means over held-out images, one seed. The first table is of the weights of the "
    "last epoch. *Less ELBO's*: the mean difference over those images ± its standard error, which "
    "does not hold how much another start of the weights would move a row, nor how much the bound "
    "moves from epoch to epoch. The second table is of bounds in training, with one latent an "
    "image; the best is picked on the held-out images themselves, which flatters it. "
    "*log p(x)*: importance sampling. *MSE*: of reconstructions from posterior "
    "means, a pixel, of values in [0, 1]. *tr S²*: of the optimal prior N(0, S²), S² the mean of "
    "Σ + μ² over training images (eq. 4)."
)


def _table(root: Path, results: Results) -> str:
    rows = []
    for method, result in results.items():
        difference = "–" if method == BASELINE else _told(*_difference(root, method, "each_bound"))
        rows.append(
            [
                method,
                minus(f"{result['bound']:.1f}"),
                difference,
                minus(f"{result['bits_per_dim']:.3f}"),
                f"{result['kl']:.1f}",
                minus(f"{result['log_evidence']:.1f} ± {result['log_evidence_error']:.1f}"),
                f"{result['reconstruction_error']:.5f}",
                number(result["optimal_prior_trace"]),
                f"{result['training_seconds'] / 60:.0f}",
            ]
        )
    head = ["method", "bound", "less ELBO's", "bits a dimension", "KL", "log p(x)", "MSE"]
    return table([*head, "tr S²", "minutes"], rows, "lrrrrrrrr")


def _difference(root: Path, method: str, what: str) -> tuple[float, float]:
    """To the baseline, over the same images, and its standard error."""
    own, base = (folder_of(root, m).arrays()[what].astype(float) for m in (method, BASELINE))
    difference = own - base
    return difference.mean(), difference.std(ddof=1) / math.sqrt(len(difference))


def _told(mean: float, error: float) -> str:
    return minus(f"{mean:+.1f} ± {error:.1f}")


@dataclass(frozen=True)
class _Curve:
    """A run's measured epochs, and at each the bound on held-out images and that in training."""

    epochs: Sequence[int]
    held_out: Sequence[float]
    training: Sequence[float]

    def best(self) -> int:
        """Where the held-out bound is highest."""
        return max(range(len(self.epochs)), key=lambda i: self.held_out[i])

    def fall(self) -> float:
        """By how much the held-out bound ends below its best."""
        return self.held_out[self.best()] - self.held_out[-1]

    def rise(self) -> float:
        """By how much the bound in training went up meanwhile."""
        return self.training[-1] - self.training[self.best()]

    def overfitted(self) -> bool:
        return self.fall() > 0 and self.rise() > 0


Curves = Mapping[str, _Curve]


def _curve(result: Mapping[str, Any]) -> _Curve:
    records = [r for r in result["history"] if r["validation"] is not None]
    epochs, held_out, training = ([r[k] for r in records] for k in ("epoch", "validation", "bound"))
    return _Curve(epochs, held_out, training)


def _stopping(curves: Curves) -> str:
    """The best held-out bounds beside the last, and what that makes of the methods' order."""
    rows = []
    for method, curve in curves.items():
        best = curve.best()
        found = [curve.held_out[best], curve.epochs[best], curve.held_out[-1], curve.fall()]
        rows.append([method, *map(_plain, found), _signed(curve.rise())])
    last = curves[BASELINE].epochs[-1]
    head = ["held-out bound", "best", "at epoch", f"at the last, {last}", "fell by"]
    told = table([*head, "in training meanwhile"], rows, "lrrrrr")
    return f"{told}\n\n{_overfitting(curves)} {_orders(curves)}"


def _overfitting(curves: Curves) -> str:
    found = [curve for curve in curves.values() if curve.overfitted()]
    if not found:
        return "No held-out bound fell while the bound in training rose."
    falls = [curve.fall() for curve in found]
    by = _plain(falls[0]) if len(falls) == 1 else f"{_plain(min(falls))} to {_plain(max(falls))}"
    return (
        f"**Overfitting**: {len(found)} of {len(curves)} held-out bounds fell from their best to "
        f"the end, by {by} nats, while the bounds in training rose."
    )


def _orders(curves: Curves) -> str:
    """The methods' order by their last and by their best bounds, and whether it is a claim."""
    best = _order({method: max(curve.held_out) for method, curve in curves.items()})
    each = [
        _order({method: curve.held_out[i] for method, curve in curves.items()})
        for i in range(len(curves[BASELINE].epochs))
    ]
    late = each[len(each) // 2 :]
    since = curves[BASELINE].epochs[len(each) // 2]
    told = (
        f"By their last bounds the methods are, from the best on, {_listed(each[-1])}; that is "
        f"their order at {late.count(each[-1])} of the {len(late)} measurements from epoch {since} "
        f"on. By their best bounds they are {_listed(best)}"
    )
    if best == each[-1]:
        return f"{told}: the same order, but one seed supports no claim of it."
    return f"{told}: another order, of which one seed supports no claim."


def _order(bounds: Mapping[str, float]) -> list[str]:
    return sorted(bounds, key=lambda method: -bounds[method])


def _listed(order: Sequence[str]) -> str:
    return " > ".join(f"({method})" for method in order)


def _verdicts(config: Config, root: Path, results: Results, curves: Curves) -> list[str]:
    """A line for each constant variance, and one for the priors; from the numbers alone."""
    lines = []
    for method in METHODS:
        if method == BASELINE:
            continue
        found = _difference(root, method, "each_bound")
        last = _at_the_end(*found, results[BASELINE]["bound"])
        other = _elsewhere(found[0], curves[method], curves[BASELINE])
        trace = number(results[method]["optimal_prior_trace"])
        lines.append(f"{method}: {last}; {other}. tr S² is {trace}.")
    return [*lines, _prior(config, results[BASELINE]["optimal_prior_trace"])]


def _at_the_end(mean: float, error: float, bound: float) -> str:
    sign = (
        "no further apart than two standard errors"
        if abs(mean) <= 2 * error
        else ("better" if mean > 0 else "worse")
    )
    told = f"{_told(mean, error)} nats, {100 * abs(mean / bound):.1f} % of it"
    return f"at the end, with this one seed, the bound is {sign}: {told}"


def _elsewhere(last: float, curve: _Curve, base: _Curve) -> str:
    """The difference to the baseline where training could have stopped instead."""
    best, then = curve.best(), base.best()
    of_best = curve.held_out[best] - base.held_out[then]
    at_once = curve.held_out[then] - base.held_out[then]
    told = (
        f"best against best it is {_signed(of_best)}, and {_signed(at_once)} at epoch "
        f"{base.epochs[then]}, where {BASELINE} has its best"
    )
    same = len({difference > 0 for difference in (last, of_best, at_once)}) == 1
    if same:
        return f"{told}: the same sign each time, of one seed"
    return f"{told}: which is better depends on when training stops"


def _prior(config: Config, trace: float) -> str:
    """The optimal prior of learned variances beside N(0, I), and beside the paper's remark."""
    beside = "less" if trace < config.latent else "no less"
    agrees = "the other way round" if trace < config.latent else "so too"
    return (
        f"{BASELINE}: the optimal prior's tr S² is {number(trace)}, that of N(0, I) is "
        f"{config.latent}: on these data the optimal prior varies {beside} than N(0, I). Fyffe "
        f"sees it {agrees} on CelebA, by eye: draws from N(0, I) vary less than those from the "
        "optimal prior (section 7.1, figure 17)."
    )


# -- samples ---------------------------------------------------------------------------------------

_PRIORS = {"standard": "N(0, I)", "optimal": "N(0, S²)"}
_OWN = {method: "standard" if method == BASELINE else "optimal" for method in METHODS}
"""By method: the prior that it is trained under."""

_SAMPLES = (
    f"Of {DRAWS:,} images decoded at draws from each prior. *To faces*: the mean squared distance, "
    "a pixel, to the nearest training image; blur lowers it. *Unusual*: the share that is farther "
    f"from it than {100 * USUAL:g} % of the held-out images are. *From faces*: that of held-out "
    "images to the nearest of them; draws that are few kinds of images raise it."
)


def _sample_table(results: Results) -> str:
    rows = [
        [method, _PRIORS[prior], *_distances(found), f"{100 * found['unusual']:.1f} %"]
        for method, result in results.items()
        for prior, found in result["samples"].items()
    ]
    real = f"{next(iter(results.values()))['real_to_data']:.4f}"
    held_out = ["held-out images", "", real, "–", f"{100 * (1 - USUAL):.1f} %"]
    head = ["samples of", "prior", "to faces", "from faces", "unusual"]
    return table(head, [held_out, *rows], "llrrr")


def _distances(found: Mapping[str, float]) -> list[str]:
    return [f"{found[key]:.4f}" for key in ("to_data", "from_data")]


def _usual(results: Results) -> str:
    """Under the prior each was trained with: how many draws are like no face."""
    told = [
        f"{method}: {100 * result['samples'][_OWN[method]]['unusual']:.0f} %"
        for method, result in results.items()
    ]
    return f"Unusual under the prior that each is trained with: {'; '.join(told)}."


def _plain(value: float) -> str:
    return minus(f"{value:.1f}") if isinstance(value, float) else str(value)


def _signed(value: float) -> str:
    return minus(f"{value:+.1f}")


def _settings(config: Config, results: Results, command: str) -> str:
    runs = list(results.values())
    training = sum(run["training_seconds"] for run in runs)
    evaluation = sum(run["evaluation_seconds"] for run in runs)
    steps = f"{config.iterations:,} updates (and the rest of the epoch)"
    rows = {
        "command": f"`{command}`",
        "networks": "convolutions of five by five, stride 1 and 2 by turns, with "
        f"{config.width} and {2 * config.width} channels, leaky ReLU; {config.latent} latents; "
        "each pixel and channel has a learned variance, at least 1/255²",
        "training": f"{steps}, batch {config.batch_size}, Adam {config.learning_rate:g}",
        "measured": f"at most {config.held_out:,} held-out images, {config.elbo_samples} latents "
        f"each for the bound, {config.evidence_samples:,} for log p(x)",
        "time": f"{training / 60:.0f} minutes of training and {evaluation / 60:.0f} of evaluation "
        f"of all {len(runs)} runs added up",
        **machines(runs),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")
