"""Exceptions of a program: where they arose, and in other words."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple

import pyro
import torch

from pyro_vae.diagnostics.linter._findings import Finding, error

_NOT_THE_USERS = tuple(os.path.dirname(package.__file__ or "") for package in (pyro, torch))


@dataclass(frozen=True)
class Crash:
    """An exception that a program ended in."""

    program: str
    kind: str
    message: str
    source: str
    """File, line and code, the last that is neither Pyro's nor torch's."""
    site: Mapping[str, Any] | None
    """The sample site that was at work: what Pyro's runtime knew of it."""

    @property
    def name(self) -> str:
        """The site's name."""
        return "" if self.site is None else self.site["name"]


def crash_of(program: str, exception: Exception) -> Crash:
    """What is to be known of an exception, without holding on to its frames."""
    frames = [frame for frame, _ in traceback.walk_tb(exception.__traceback__)]
    return Crash(
        program=program,
        kind=type(exception).__name__,
        message=str(exception),
        source=_source(exception),
        site=next(filter(None, map(_site, reversed(frames))), None),
    )


def _site(frame: FrameType) -> Mapping[str, Any] | None:
    """The message of a sample statement, where a function of Pyro's has one at hand."""
    message = frame.f_locals.get("msg")
    if isinstance(message, dict) and message.get("type") == "sample":
        return dict(message)
    return None


def _source(exception: Exception) -> str:
    lines = [
        line
        for line in traceback.extract_tb(exception.__traceback__)
        if line.line and not line.filename.startswith((*_NOT_THE_USERS, os.path.dirname(__file__)))
    ]
    if not lines:
        return ""
    last = lines[-1]
    return f"{last.filename}:{last.lineno}, in {last.name}: {last.line}"


class _Translation(NamedTuple):
    """What an exception means, by a pattern of its text; ``{1}`` is the pattern's first group."""

    pattern: str
    what: str
    why: str
    fix: str


_RUNS = "a program that does not run cannot be trained"

_TRANSLATIONS = (
    _Translation(
        r"(?s)^([^\n]*\bexpected .*?; got .*?[.;:]) (.*)$",  # written as this library's are
        "{1}",
        _RUNS,
        "{2}",
    ),
    _Translation(
        r"mat1 and mat2 shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)",
        "expected {3} features, what the linear layer takes; got {2}",
        "the size of z, of x or of a layer is not what the next layer is made for",
        "nn.Linear({2}, …) there, or give it what it takes (x.flatten(1) for images)",
    ),
    _Translation(
        r"to have (\d+) channels, but got (\d+) channels",
        "expected {1} channels, what the convolution takes; got {2}",
        "images are [batch, channel, height, width]",
        "x.unsqueeze(1) for grey images without a channel, or nn.Conv2d({2}, …)",
    ),
    _Translation(
        r"Expected .*to (conv\w+), but got input of size: (\[.*\])",
        "expected [batch, channel, …], what {1} takes; got {2}",
        "a convolution takes one batch dimension; with particles there are two",
        "pyro_vae.nn.LeadingShape(network, event_dim=3)",
    ),
    _Translation(
        r"running_mean should contain (\d+) elements not (\d+)",
        "expected {2} features in dimension 1, what batch normalisation takes; got {1}",
        "it takes one batch dimension; with particles there are two",
        "pyro_vae.nn.LeadingShape(network, event_dim=1)",
    ),
    _Translation(
        r"have the same dtype|same dtype, but got|expected scalar type|m1 and m2 to have the same|"
        r"Input type \((?!.*cuda).*type \(.*should be the same",
        "expected data and parameters of one dtype; got several: {0}",
        "torch does not convert a network's input",
        "x.to(next(model.parameters()).dtype) (bytes: x.float() / 255), or model.to(x.dtype)",
    ),
    _Translation(
        r"on the same device|is on (?:cpu|cuda\S*), (?:but|different)",
        "expected data, model and guide on one device; got several: {0}",
        "tensors of different devices cannot meet",
        "model.to(x.device); guide.to(x.device); and tensors made inside with device=x.device",
    ),
    _Translation(
        r"Multiple sample sites named '(.+?)'",
        "expected a name of its own for every site; got {1!r} twice",
        "sites of model and guide are matched by their names",
        'pyro.sample("{1}_2", …) for one of the two',
    ),
    _Translation(
        r"Expected parameter (\w+) .*?of distribution (\w+)(?s:.*)to satisfy the constraint (.+?), "
        r"but found",
        "expected a {2} whose {1} satisfies {3}; got others (NaN, or out of range)",
        "the density is not defined there",
        "bound what the network gives, e.g. torch.nn.functional.softplus({1}) + 1e-6; for NaN "
        "look at the weights and the data",
    ),
    _Translation(
        r"collide at dim",
        "expected plates with a dimension of their own; got two at one: {0}",
        "a dimension can enumerate one thing only",
        'pyro.plate("data", x.shape[0], dim=-1), and dim=-2 for the other plate',
    ),
    _Translation(
        r"subsample_size does not match len\(subsample\), (\d+) vs (\d+)",
        "expected one subsample for model and guide; got sizes {1} and {2}",
        "the guide's latents must belong to the data that the model observes",
        "the same pyro.plate(name, size, subsample_size=…) in both",
    ),
    _Translation(
        r"out of memory",
        "expected a batch that fits into memory; got {0}",
        "a check needs what a training step with two particles needs",
        "check_model(model, guide, x[:100])",
    ),
    _Translation(
        r"positional arguments? but|missing \d+ required|unexpected keyword",
        "expected a program that is called with the data alone; got {0}",
        "this library's objectives and trainers call model(x) and guide(x)",
        "def forward(self, x): …, for model and guide alike",
    ),
    _Translation(
        r"Expected more than 1 value per channel",
        "expected several data for batch normalisation; got one",
        "the statistics of a single datum say nothing",
        "a batch of two or more, or .eval()",
    ),
    _Translation(
        r"uninitialized parameter",
        "expected weights; got a lazy module that has none yet",
        "Pyro registers parameters before the module can make them",
        "call the network once, e.g. guide.encoder(x), before this check and before training",
    ),
    _Translation(
        r"The size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)",
        "expected shapes that broadcast; got sizes {1} and {2} in one dimension",
        "parameters of a distribution, or a value and its distribution, do not fit together",
        "print the shapes at that line: [*batch, *event], the batch last before the event",
    ),
)


def finding_of(crash: Crash, *, why: str = "") -> Finding:
    """The exception as a finding, in words that say what to do; ``why`` where more is known."""
    told = next(filter(None, (_translated(crash, rule) for rule in _TRANSLATIONS)), None)
    if told is None:
        told = (
            f"expected a program that runs on x; got {crash.kind}: {_first_line(crash.message)}",
            _RUNS,
            "mend the line above",
        )
    what, usual, fix = told
    return error(
        crash.program, what, why=why or usual, fix=fix, site=crash.name, source=crash.source
    )


def _translated(crash: Crash, rule: _Translation) -> tuple[str, str, str] | None:
    found = re.search(rule.pattern, crash.message)
    if found is None:
        return None
    groups = [_first_line(crash.message), *found.groups()]
    what, fix = (text.format(*groups).rstrip(" .;:") for text in (rule.what, rule.fix))
    return what, rule.why, fix


def _first_line(message: str) -> str:
    return message.strip().split("\n")[0]
