"""The report: what was timed, what came out, and which goals were reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.markdown import factor, number, table
from experiments.speed.breakdown import PARTS
from experiments.speed.cases import CASES, LEARNING_RATE, VARIANCE
from experiments.speed.config import Config
from experiments.speed.contenders import CONTENDERS, OURS
from experiments.speed.goals import Verdict, speedup, steps_until_compiling_pays, verdicts
from experiments.speed.measure import MEASURED
from experiments.speed.missed import missed
from experiments.speed.spread import quartiles
from experiments.speed.when import measured_when

__all__ = ["report"]

Found = Mapping[str, Any]
Row = Sequence[str]


def report(config: Config, results: Found, captions: Mapping[str, str]) -> str:
    """The Markdown of ``report.md``.

    Args:
        config: the run's settings.
        results: what ``results.json`` holds.
        captions: figure → caption.
    """
    cases = results["cases"]
    parts = ["# The time of a training step", _question(config, cases)]
    if config.quick:
        parts.append("**A quick run: networks and blocks too small for the numbers to mean much.**")
    if cases:
        found = verdicts(cases, config.measured_on)
        parts += ["## Goals", _goals(found), *missed(found, cases, config.measured_on), "## Times"]
        parts += [_case(name, case) for name, case in cases.items()]
        parts += _compiling(cases)
    if results["growth"]:
        parts += ["## Growth", _growth(config, results["growth"])]
    if cases or results["growth"]:
        every = [*cases.values(), *results["growth"]]
        parts += ["## The limit", _limit(results["peak"], cases), *_profile(cases)]
        parts += ["## What the numbers are", _meaning(config), _notes(every), _checks(every)]
    parts += ["## What was run", _settings(config, results)]
    if captions:
        parts += ["## Figures", *(_figure(name, caption) for name, caption in captions.items())]
    return "\n\n".join(parts) + "\n"


def _figure(name: str, caption: str) -> str:
    title = {"steps.png": "milliseconds a step", "growth.png": "growth curves"}[name]
    return f"![{title}](figures/{name})\n\n{caption}"


def _question(config: Config, cases: Found) -> str:
    where = "a GPU" if config.measured_on == "cuda" else "this processor"
    told = "; ".join(f"({name}) {case['case']['about']}" for name, case in cases.items())
    images = ""
    if any(case["case"]["pixels"] for case in cases.values()):
        images = (
            " The pixels are MNIST's."
            if config.data == "mnist"
            else " MNIST's files were not found: its pixels are random grey values of the same "
            "shape; the arithmetic is the same."
        )
    return (
        f"How long does one training step take on {where}, and how long do the alternatives need "
        "for the same step: the same model, bound, weights, batches and optimizer (Adam, "
        f"{LEARNING_RATE:g}), in float32? The cases: {told or 'growth curves alone'}.{images}"
    )


# -- goals ----------------------------------------------------------------------------------------


def _goals(found: Sequence[Verdict]) -> str:
    rows = [
        [f"({v.case})", str(v.goal), factor(v.found), f"**{v}**" if v.reached is False else str(v)]
        for v in found
    ]
    return table(["case", "goal", "found [95 % interval]", "verdict"], rows, "llrl")


# -- times ----------------------------------------------------------------------------------------


def _case(name: str, case: Found) -> str:
    contenders = case["contenders"]
    rows = [_time_row(key, contenders) for key in CONTENDERS if key in contenders]
    limit = case["limit"]["milliseconds"]
    rows.append(["*limit: matrix products alone*", number(limit), "", "", "", ""])
    head = [
        "contender",
        "ms a step",
        "quartiles",
        "× ours [95 %]",
        "peak memory, MiB",
        "first call, s",
    ]
    return f"**({name})** {case['case']['about']}\n\n{table(head, rows, 'lrrrrr')}"


def _time_row(key: str, contenders: Found) -> Row:
    found, label = contenders[key], CONTENDERS[key].label
    if found["status"] != MEASURED:
        return [label, f"{found['status']}: {_escaped(found['reason'])}", "", "", "", ""]
    low, high = quartiles(found["milliseconds"])
    return [
        f"**{label}**" if key == OURS else label,
        number(found["median_milliseconds"]),
        f"{number(low)}–{number(high)}",
        "1" if key == OURS else factor(speedup(contenders, key)),
        "–" if found["memory_mib"] is None else f"{found['memory_mib']:.0f}",
        f"{found['first_call_seconds']:.1f}",
    ]


def _compiling(cases: Found) -> list[str]:
    rows = [
        _compiling_row(name, key, case["contenders"][key], case["contenders"])
        for name, case in cases.items()
        for key, entry in CONTENDERS.items()
        if entry.compiles and case["contenders"].get(key, {}).get("status") == MEASURED
    ]
    head = ["case", "contender", "cold, s", "compiled before, s", "pays from step"]
    if not rows:
        return []
    text = (
        "The first call compiles: with nothing on disk, and in a second process that finds what "
        "the first one has compiled. A compiled run as a whole is faster than our eager mode from "
        "this many steps on, the cold first call included."
    )
    return ["## When compiling pays", text, table(head, rows, "llrrr")]


def _compiling_row(name: str, key: str, found: Found, contenders: Found) -> Row:
    again = found.get("second_start_seconds")
    pays = steps_until_compiling_pays(contenders) if key == OURS else None
    return [
        f"({name})",
        CONTENDERS[key].label,
        f"{found['first_call_seconds']:.1f}",
        "–" if again is None else f"{again:.1f}",
        "–" if pays is None else f"{pays:,.0f}",
    ]


def _growth(config: Config, points: Sequence[Found]) -> str:
    keys = config.growing()
    rows = [
        [
            f"{point['axis']} {point['value']}",
            *(_median(point["contenders"][key]) for key in keys),
            number(point["limit"]["milliseconds"]),
        ]
        for point in points
    ]
    head = ["case (a) with", *(CONTENDERS[key].label for key in keys), "limit"]
    return "Milliseconds a step, medians.\n\n" + table(head, rows, "l" + "r" * (len(head) - 1))


def _median(found: Found) -> str:
    measured = found["status"] == MEASURED
    return number(found["median_milliseconds"]) if measured else str(found["status"])


# -- the limit, and what the numbers are ----------------------------------------------------------


def _limit(peak: Mapping[str, float], cases: Found) -> str:
    told = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in peak.items())
    rows = [
        [
            f"({name})",
            f"{case['limit']['flops'] / 1e6:.1f}",
            number(case["limit"]["milliseconds"]),
            number(case["limit"]["same_shapes_milliseconds"]),
        ]
        for name, case in cases.items()
    ]
    head = ["case", "MFLOP a step", "limit, ms", "`torch.mm` in these shapes, ms"]
    text = (
        "The matrix products of a step — forward, and backward for weights and inputs, but not for "
        "the data — at the greatest rate that square float32 products reach on this machine with "
        f"all threads ({told}). Beside it, the time that `torch.mm` takes for the same products "
        "in their own shapes. The rest of a step, elementwise functions and random numbers, is in "
        "neither."
    )
    return f"{text}\n\n{table(head, rows, 'lrrr')}" if rows else text


def _profile(cases: Found) -> list[str]:
    profiles = {name: case["profile"] for name, case in cases.items() if case.get("profile")}
    if not profiles:
        return []
    rows = [
        [label, *(_share(profile[part], sum(profile.values())) for profile in profiles.values())]
        for part, label in PARTS.items()
    ]
    rows.append(["limit: matrix products", *(number(_limit_of(cases[name])) for name in profiles)])
    text = (
        "Our compiled step under torch's profiler, which itself takes some time: milliseconds of "
        "the thread that calls, and their share."
    )
    head = ["part", *(f"({name})" for name in profiles)]
    parts = table(head, rows, "l" + "r" * len(profiles))
    return ["## Where the time of our step goes", text, parts]


def _limit_of(case: Found) -> float:
    return case["limit"]["milliseconds"]


def _share(part: float, whole: float) -> str:
    return f"{part:.3f} ({100 * part / whole:.0f} %)"


def _meaning(config: Config) -> str:
    return (
        f"*ms a step*: {config.blocks} blocks of about {config.block_seconds:g} s "
        f"({config.growth_blocks} for the growth curves), all contenders in turn, another one "
        "first in each round; the first round is dropped. The median over blocks and quartiles. "
        "*× ours*: how many times as long as pyro_vae's compiled step, the median over rounds of "
        "the ratio within the round; the interval holds that median with 95 % (from ranks; with "
        "fewer than six blocks it is the range). *Peak memory*: the process's greatest resident "
        "size, compiling included, less that after its imports with the data loaded; processes "
        "that a compiler starts are not in it. On a GPU: the most that was allocated there. *First "
        "call*: until two steps are done (50 for the scan), with what is compiled and what "
        "libraries import only then.\n\n"
        "The likelihood is a Bernoulli on grey values for pixels, else a normal with variance "
        f"{VARIANCE:g}; the KL is sampled, as Pyro's `Trace_ELBO` has it; several particles are "
        "the importance-weighted bound (`RenyiELBO(alpha=0)`). Batches are random rows of data "
        "that are in memory, or on the GPU."
    )


def _notes(cases: Iterable[Found]) -> str:
    notes = {
        key: found["note"]
        for case in cases
        for key, found in case["contenders"].items()
        if found.get("note")
    }
    return "\n".join(
        f"- *{CONTENDERS[key].label}*: {notes[key]}" for key in CONTENDERS if key in notes
    )


def _checks(cases: Sequence[Found]) -> str:
    measured = [
        found
        for case in cases
        for found in case["contenders"].values()
        if found["status"] == MEASURED
    ]
    if not measured:
        return "No contender passed the check."
    worst = max(abs(found["check"]["deviation"]) for found in measured)
    return (
        "Every contender that has a time computes the same loss: from the same weights, on the "
        "same batch, its mean over many draws is that of a reference in double precision to "
        f"within 5 standard errors (the farthest of {len(measured)} is {worst:.1f} away), and it "
        "was lower after the timed steps than before them. One that fails is named in the tables, "
        "without a time. Every number is in `results.json`."
    )


def _settings(config: Config, results: Found) -> str:
    rows = [["command", f"`{results['command']}`"], *measured_when(results)]
    if any(CASES[name].pixels for name in config.cases if name in CASES):
        rows.append(["images", "MNIST" if config.data == "mnist" else "random grey values"])
    rows += [list(item) for item in results["machine"].items()]
    return table(["", ""], rows, "ll")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
