"""How long a training step takes, against stock Pyro, PyTorch by hand, NumPyro and pythae.

Every contender trains the same VAEs from the same weights on the same data, is checked to compute
the same loss, and is timed in blocks of steps, in turn, each in a process of its own. Writes the
times, peak memory, compile times and the machine's limit as JSON, figures, and a report. A run
broken off goes on with the case it was at. A contender whose library is not installed is named as
such; the extra ``bench`` installs them all.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.run_folder import RunFolder, write_json, write_text
from experiments.speed.cases import CASES, Case
from experiments.speed.config import GROWTH, Config, chosen_cases
from experiments.speed.contenders import CONTENDERS, OURS, default_contenders
from experiments.speed.figures import draw
from experiments.speed.inputs import make_inputs
from experiments.speed.limit import case_limit, peak
from experiments.speed.machine import describe
from experiments.speed.measure import MEASURED, measure_case, profiled_case
from experiments.speed.report import report
from pyro_vae import data as datasets

__all__ = ["add_arguments", "run"]

Found = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command line."""
    add = parser.add_argument
    add("--cases", type=_cases, metavar="A,B,…", help="of a, b, c2, c100 (c: both), d, e (all)")
    add("--contenders", type=_contenders, metavar="K,L,…", help=f"of {', '.join(CONTENDERS)}")
    add("--device", type=_device, default="cpu", metavar="NAME", help="cpu or cuda (cpu)")
    add("--data-dir", metavar="DIR", help="where MNIST's files are (or set PYRO_VAE_DATA)")
    add("--quick", action="store_true", help="small networks, to see that everything works")
    add("--out", type=Path, metavar="DIR", help="the run folder (named after the settings)")
    add("--publish", type=Path, metavar="PAGE.md", help="copy the report to a page, with figures")


def run(options: argparse.Namespace) -> None:
    """Measure what is not measured, and report."""
    cases = options.cases or (*CASES, GROWTH)
    with_pixels = any(case.pixels for name, case in CASES.items() if name in cases)
    images = _images(options.data_dir) if with_pixels else None
    config = Config(
        data="plane" if not with_pixels else "random" if images is None else "mnist",
        measured_on=options.device,
        quick=options.quick,
        cases=cases,
        contenders=options.contenders or default_contenders(options.device),
        **(_QUICK if options.quick else {}),
    )
    folder = RunFolder(options.out, "speed", config)
    print(f"run folder: {folder.path}")
    if (folder / "results.json").exists():
        print("measured already; delete the folder to measure again")
    else:
        results = _measure(config, images, folder.path)
        write_json(folder / "results.json", {"command": _command(options), **results})
    _report(config, folder)
    if options.publish is not None:
        _publish(folder.path, options.publish)


_QUICK: dict[str, Any] = {"blocks": 5, "growth_blocks": 5, "block_seconds": 0.02, "draws": 100}


def _measure(config: Config, images: NDArray[np.float32] | None, root: Path) -> Found:
    """Every case, then the points of the growth curves that are none of them."""
    rates = peak(config.measured_on, config.quick)
    print(", ".join(f"{name}: {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items()))
    one = partial(_measure_case, config, images, rates, root)
    done = {case: one(case, config.contenders, config.blocks) for case in config.timed_cases()}
    cases = {case.name: found for case, found in done.items()}
    growth = []
    for (axis, value), case in config.growth().items():
        if case not in done:
            done[case] = one(case, config.growing(), config.growth_blocks)
        growth.append({"axis": axis, "value": value, **_only(done[case], config.growing())})
    machine = describe(config.measured_on)
    return {"machine": machine, "peak": rates, "cases": cases, "growth": growth}


def _measure_case(
    config: Config,
    images: NDArray[np.float32] | None,
    rates: dict[str, float],
    root: Path,
    case: Case,
    contenders: tuple[str, ...],
    blocks: int,
) -> Found:
    """From its file, if a run broken off has measured it."""
    print(f"case {case.name}: {case.about}", flush=True)
    name = case.name.replace(" ", "_")
    path = root / "cases" / f"{name}.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
    else:
        inputs, logs, started = make_inputs(case, images), root / "logs" / name, time.time()
        timed = measure_case(case, inputs, config, contenders, blocks, logs)
        found = {
            "case": asdict(case),
            "limit": case_limit(case, rates, config.measured_on),
            "profile": profiled_case(case, inputs, logs) if _is_profiled(case, config) else None,
            "contenders": timed,
            "measured": {"at": _now(), "seconds": time.time() - started},
        }
        write_json(path, found)
    for key, result in found["contenders"].items():
        print(f"  {_line(key, result)}", flush=True)
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_profiled(case: Case, config: Config) -> bool:
    """Our step in a case of its own, on a processor; not each point of the growth curves."""
    return OURS in config.contenders and case.name in CASES and config.measured_on == "cpu"


def _only(found: Found, contenders: tuple[str, ...]) -> Found:
    """A case's result with these contenders alone."""
    kept = {key: found["contenders"][key] for key in contenders}
    return {**found, "contenders": kept}


def _line(key: str, found: Found) -> str:
    label = CONTENDERS[key].label
    if found["status"] != MEASURED:
        return f"{label}: {found['status']} ({found['reason']})"
    return f"{label}: {found['median_milliseconds']:.3g} ms a step"


def _images(data_dir: str | None) -> NDArray[np.float32] | None:
    """MNIST's training images, or ``None`` where its files are not on this machine."""
    try:
        return datasets.mnist(data_dir, download=False).train.values.numpy()
    except FileNotFoundError:
        if data_dir is not None:
            raise
        return None


def _report(config: Config, folder: RunFolder) -> None:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    captions = draw(results, folder.path)
    text = report(config, results, captions)
    write_text(folder / "report.md", text)
    print(text.split("## What the numbers are")[0])
    print(f"report: {folder / 'report.md'}")


def _publish(run: Path, page: Path) -> None:
    """Copy the report to ``page``, its figures and numbers into a folder beside it."""
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*sorted((run / "figures").glob("*.png")), run / "results.json"):
        shutil.copyfile(path, folder / path.name)
    text = (run / "report.md").read_text(encoding="utf-8")
    write_text(page, text.replace("](figures/", f"]({folder.name}/"))
    print(f"page: {page}")


def _command(options: argparse.Namespace) -> str:
    """The command that makes this run, without what does not change its results."""
    given = ["python -m experiments speed"]
    for name in ("cases", "contenders"):
        if getattr(options, name):
            given.append(f"--{name} {shlex.quote(','.join(getattr(options, name)))}")
    if options.device != "cpu":
        given.append(f"--device {options.device}")
    return " ".join(given + ["--quick"] * options.quick)


def _cases(text: str) -> tuple[str, ...]:
    try:
        return chosen_cases(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _contenders(text: str) -> tuple[str, ...]:
    given = text.split(",")
    if unknown := [key for key in given if key not in CONTENDERS]:
        raise argparse.ArgumentTypeError(
            f"expected some of {', '.join(CONTENDERS)}; got {', '.join(unknown)!r}"
        )
    return tuple(key for key in CONTENDERS if key in given)


def _device(text: str) -> str:
    if text not in ("cpu", "cuda"):
        raise argparse.ArgumentTypeError(f"expected cpu or cuda; got {text!r}")
    if text == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError(
            "expected a CUDA device that torch finds; got none. Leave --device out to compute on "
            "the processor"
        )
    return text
