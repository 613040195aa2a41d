"""The report: what was run, what came out, and whether Fyffe's claim held."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.machine import machines
from experiments.markdown import figure, minus, table
from experiments.paired import Estimate, estimate, interval, paired_difference, signed
from experiments.posterior_variance.config import Config
from experiments.posterior_variance.figures import PAPER
from experiments.posterior_variance.methods import BASELINE, METHODS
from experiments.posterior_variance.stopping import answer, averages, late, stopping

__all__ = ["csv_table", "report", "summary"]

_SEEDS_FOR_A_CLAIM = 3
_PAIRS = (("Constant Σ", BASELINE), ("BILBO", BASELINE), ("BILBO", "Constant Σ"))
_NAMES = {"mnist": "MNIST", "digits": "the 8×8 digits that scikit-learn carries"}
_COLUMNS = (
    "method",
    "seed",
    "bound",
    "reconstruction",
    "kl",
    "log_evidence",
    "log_evidence_error",
    "exact_log_evidence",
    "exact_log_evidence_error",
    "active_units",
    "reconstruction_error",
    "training_seconds",
)

Results = Sequence[dict[str, Any]]


def csv_table(results: Results) -> str:
    """One line a run."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(results)
    return out.getvalue()


def summary(results: Results) -> dict[str, Any]:
    """Means over seeds and paired differences, as numbers."""
    exact = {}
    if _is_exact(results):
        others = [m for m in METHODS if m != BASELINE]
        exact = {m: vars(_difference(results, m, name="exact_log_evidence")) for m in others}
    return {
        "bound": {m: vars(estimate(_values(results, m, "bound"))) for m in METHODS},
        "log_evidence": {m: vars(estimate(_values(results, m, "log_evidence"))) for m in METHODS},
        "difference": {m: vars(_difference(results, m)) for m in METHODS if m != BASELINE},
        "evidence_difference": {
            m: vars(_difference(results, m, name="log_evidence")) for m in METHODS if m != BASELINE
        },
        "exact_evidence_difference": exact,
        "bilbo_less_constant": vars(_difference(results, "BILBO", "Constant Σ")),
    }


def report(
    config: Config,
    results: Results,
    captions: dict[str, str],
    command: str,
) -> str:
    """The Markdown of ``report.md``."""
    parts = [
        f"# Learned against constant posterior variance: {_subject(config)}",
        _question(config),
        "## Result",
        _table(config, results),
        _differences(results),
        stopping(results, _PAIRS),
        _verdict(results),
        *_against_the_paper(config, results),
        "## What the numbers are",
        _meaning(config, results),
        "## What was run",
        _settings(config, results, command),
        "## Figures",
        *(figure(name, caption) for name, caption in captions.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _values(results: Results, method: str, name: str) -> list[float]:
    return [result[name] for result in results if result["method"] == method]


def _difference(
    results: Results, method: str, baseline: str = BASELINE, name: str = "bound"
) -> Estimate:
    return paired_difference(_values(results, method, name), _values(results, baseline, name))


def _subject(config: Config) -> str:
    return config.data if config.latent == 2 else f"{config.data}, {config.latent} latents"


def _question(config: Config) -> str:
    return (
        "Does a VAE need to learn the variance of its posteriors? Fyffe (*There and Back "
        "Again: Unraveling the Variational Auto-Encoder*) says no: with a constant variance and a "
        "prior whose own variance floats, the lower bound is no worse, and in its experiments "
        f"better. Here are the three methods of its figure 4 on {_NAMES[config.data]}, each on the "
        "same seeds, starting decoders and order of the data."
    )


def _is_papers(config: Config) -> bool:
    """Whether the paper has a number to stand beside."""
    return config.data == "mnist" and config.latent == 2


def _is_exact(results: Results) -> bool:
    """Whether log p(x) was found on a grid too."""
    return all("exact_log_evidence" in result for result in results)


def _evidences(results: Results) -> dict[str, str]:
    """Of a run's numbers, those that are of log p(x), and their columns' heads."""
    exact = {"exact_log_evidence": "log p(x), exact"} if _is_exact(results) else {}
    return {"log_evidence": "log p(x), weighted", **exact}


def _table(config: Config, results: Results) -> str:
    paper = _is_papers(config)
    head = ["method", "bound", "± s.e.", "E log p(x\\|z)", "KL", *_evidences(results).values()]
    head += ["active units"] + ["paper's bound"] * paper
    rows = [_row(method, results) + [_number(PAPER[method], 1)] * paper for method in METHODS]
    over = f"means over {config.seeds} seeds" if config.seeds > 1 else "one seed"
    return f"Nats a test image, {over}.\n\n{table(head, rows, 'l' + 'r' * (len(head) - 1))}"


def _row(method: str, results: Results) -> list[str]:
    bound = estimate(_values(results, method, "bound"))
    shown = ("reconstruction", "kl", *_evidences(results))
    return [
        method,
        _number(bound.mean),
        "–" if bound.error is None else f"{bound.error:.2f}",
        *(_number(estimate(_values(results, method, name)).mean) for name in shown),
        f"{estimate(_values(results, method, 'active_units')).mean:.1f}",
    ]


def _differences(results: Results) -> str:
    columns = {"bound": "bound", **_evidences(results)}
    rows = []
    for a, b in _PAIRS:
        found = [_difference(results, a, b, name) for name in columns]
        rows.append([f"{a} − {b}", *(cell for d in found for cell in _mean_and_interval(d))])
    head = ["paired by seed"]
    head += [cell for name in columns.values() for cell in (name, "95 % interval")]
    return table(head, rows, "l" + "r" * (len(head) - 1))


def _mean_and_interval(difference: Estimate) -> list[str]:
    return [signed(difference.mean), interval(difference)]


def _verdict(results: Results) -> str:
    """As sure as both the average over the end of training and its single measurements are."""
    told = [
        answer(m, BASELINE, late(results, m, BASELINE), _difference(results, m))
        for m in METHODS
        if m != BASELINE
    ]
    if len(results) < _SEEDS_FOR_A_CLAIM * len(METHODS):
        told = [f"No claim: it takes {_SEEDS_FOR_A_CLAIM} seeds to tell a gain from their spread."]
    return "**Is a constant variance better?** " + " ".join(told)


def _against_the_paper(config: Config, results: Results) -> list[str]:
    """How far each average late in training is from the paper's bound, and what that makes of the
    differences."""
    if not _is_papers(config):
        return []
    means = {m: estimate(averages(results, m)).mean for m in METHODS}
    far = ", ".join(f"{m} {_beside(means[m] - PAPER[m])} ({_number(PAPER[m], 1)})" for m in METHODS)
    of_baseline = averages(results, BASELINE)
    low, high = _number(min(of_baseline)), _number(max(of_baseline))
    gains = "; ".join(
        _gain(m, late(results, m, BASELINE).average) for m in METHODS if m != BASELINE
    )
    told = f"The averages against the paper's bounds: {far}. {BASELINE}'s seeds lie between"
    return [f"{told} {low} and {high}. {gains}.{_of_the_baseline(means)}"]


def _beside(distance: float) -> str:
    far = f"{abs(distance):.1f}"
    if far == "0.0":
        return "agrees"
    return f"is {far} nats {'above' if distance > 0 else 'below'}"


def _gain(method: str, ours: Estimate) -> str:
    """A difference beside the paper's."""
    papers = PAPER[method] - PAPER[BASELINE]
    told = f"{method} − {BASELINE}, {signed(ours.mean)}, is {ours.mean / papers:.1f} times the "
    return f"{told}paper's {signed(papers, 1)}{_whether_held(ours, papers)}"


def _whether_held(ours: Estimate, papers: float) -> str:
    """Whether the paper's difference could be this one."""
    if ours.half_width is None:
        return ""
    inside = abs(ours.mean - papers) <= ours.half_width
    return f", which its interval {'holds' if inside else 'does not hold'}"


def _of_the_baseline(means: Mapping[str, float]) -> str:
    weaker = PAPER[BASELINE] - means[BASELINE]
    if weaker < 0.05:
        return ""
    return f" {weaker:.1f} nats of each are there because {BASELINE} is worse here than there."


def _meaning(config: Config, results: Results) -> str:
    return (
        "*Bound*: the evidence lower bound (Fyffe, eq. 1 and 2) with the KL in closed form and "
        f"{config.elbo_samples} samples of z an image. For the constant variance the prior is N(0, "
        "S²) with S² from the training set (eq. 4), put into this ordinary bound: an S² from each "
        "batch would flatter it by about n/(2B) nats. *log p(x), weighted*: importance sampling "
        f"with {config.evidence_samples:,} samples from the encoder, of the first "
        f"{config.evidence_data:,} test images where there are more; a lower bound, since weights "
        f"miss what the encoder misses.{_exactly(config, results)} The likelihood is a Bernoulli "
        "on grey values: a cross entropy, comparable between the methods here and with Fyffe's "
        "numbers, not with binarised data. Measurements in training are of the bound alone, with "
        "one sample of z an image, the same draws each time. *s.e.* is over seeds; intervals are "
        "Student's t on paired differences.\n\nConstant Σ and BILBO maximise the same function: "
        "with S² from the batch and the KL in closed form, eq. 24 is eq. 2 averaged over the "
        "batch, in value and gradient. On the same seed they differ by rounding alone, which "
        "training then amplifies: their difference shows the noise floor of the other two."
    )


def _exactly(config: Config, results: Results) -> str:
    if not _is_exact(results):
        return ""
    error = max(result["exact_log_evidence_error"] for result in results)
    return (
        f" *Exact*: of the same images on a grid of {config.evidence_cells:,} × "
        f"{config.evidence_cells:,} latents, to {error:.1g} nats."
    )


def _settings(config: Config, results: Results, command: str) -> str:
    layers = " – ".join(map(str, config.hidden))
    training = sum(result["training_seconds"] for result in results)
    rows = {
        "command": f"`{command}`",
        "data": f"{config.data}, grey values",
        "networks": f"encoder and decoder with hidden layers {layers}, ReLU, Glorot-uniform "
        "weights, zero biases",
        "latent dimensions": str(config.latent),
        "training": f"{config.epochs} epochs, batch {config.batch_size}, Adam "
        f"{config.learning_rate:g}, {_seeds(config)}",
        "training time": f"{training / 60:.1f} minutes of all {len(results)} runs added up",
        **machines(results),
    }
    return table(["", ""], [[name, value] for name, value in rows.items()], "ll")


def _seeds(config: Config) -> str:
    return "seed 0" if config.seeds == 1 else f"seeds 0–{config.seeds - 1}"


def _number(value: float, digits: int = 2) -> str:
    return minus(f"{value:.{digits}f}")
