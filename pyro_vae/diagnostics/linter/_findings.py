"""What a rule finds, and how it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from textwrap import fill
from typing import Any, overload

_WIDTH, _FEW = 100, 5


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """The pair would crash, or be scored or trained as something else."""
    WARNING = "warning"
    """A pitfall: right for some purposes and wrong for others; the finding says for which."""


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found: where it is, what it is, why it matters and how to mend it.

    ``print(finding)`` gives the whole; the fields are for scripts.
    """

    severity: Severity
    program: str
    """``"model"``, ``"guide"``, ``"model and guide"``, ``"x"`` or ``"pyro"``."""
    what: str
    """"expected …; got …"."""
    why: str
    """What follows from it."""
    fix: str
    """What to write in its place."""
    site: str = ""
    """The sample site, if it is at one."""
    plate: str = ""
    """The plate, if it is about one."""
    dim: int | None = None
    """The plate's dimension."""
    source: str = ""
    """Where in the code an exception arose."""
    rule: str = ""
    """The rule's name."""

    @property
    def where(self) -> str:
        """The program, site, plate and dimension in words."""
        parts = [
            self.program,
            f"site {self.site!r}" if self.site else "",
            f"plate {self.plate!r}" if self.plate else "",
            "" if self.dim is None else f"dim {self.dim}",
        ]
        return ", ".join(part for part in parts if part)

    def __str__(self) -> str:
        lines = [
            f"{self.severity}[{self.rule}] {self.where}",
            f"  --> {self.source}" if self.source else "",
            _paragraph(self.what),
            _paragraph(self.why, "why: "),
            _paragraph(self.fix, "fix: "),
        ]
        return "\n".join(line for line in lines if line)


def error(program: str, what: str, *, why: str, fix: str, **where: Any) -> Finding:
    """A finding of severity error."""
    return Finding(Severity.ERROR, program, what, why, fix, **where)


def warning(program: str, what: str, *, why: str, fix: str, **where: Any) -> Finding:
    """A finding of severity warning."""
    return Finding(Severity.WARNING, program, what, why, fix, **where)


def named(finding: Finding, rule: str) -> Finding:
    """The finding under its rule's name, unless it has one."""
    return finding if finding.rule else replace(finding, rule=rule)


@dataclass(frozen=True)
class Findings(Sequence[Finding]):
    """What :func:`check_model` found, errors first; a sequence of :class:`Finding`.

    It is true where there are findings, as a list is; :attr:`ok` is true where none is an error.
    """

    found: tuple[Finding, ...]
    checked: tuple[str, ...]
    """The rules that were applied."""
    unchecked: Mapping[str, str]
    """The rules that could not be applied: name → reason."""

    @property
    def ok(self) -> bool:
        """Whether nothing found is an error."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What would crash, or be scored or trained wrongly."""
        return self._of(Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Pitfalls."""
        return self._of(Severity.WARNING)

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.found if finding.severity is severity)

    @overload
    def __getitem__(self, index: int) -> Finding: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Finding]: ...

    def __getitem__(self, index: int | slice) -> Finding | Sequence[Finding]:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        return f"<Findings: {self._counts()}>"

    def __str__(self) -> str:
        parts = [str(finding) for finding in self.found]
        return "\n\n".join([*parts, "\n".join([self._counts(), *self._rules()])])

    def _counts(self) -> str:
        counts = {"error": len(self.errors), "warning": len(self.warnings)}
        told = [f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n]
        return ", ".join(told) or "no findings"

    def _rules(self) -> list[str]:
        reasons: dict[str, list[str]] = {}
        for rule, reason in self.unchecked.items():
            reasons.setdefault(reason, []).append(rule)
        skipped = [(f"not checked, since {reason}", rules) for reason, rules in reasons.items()]
        told = [("checked", list(self.checked)), *skipped]
        return [_paragraph(self._list(rules), f"{label}: ") for label, rules in told if rules]

    def _list(self, rules: list[str]) -> str:
        """All by their names where that is the news, and how many where they are."""
        return f"{len(rules)} rules" if self and len(rules) > _FEW else ", ".join(rules)


def findings(
    found: Iterable[Finding], checked: Iterable[str], unchecked: Mapping[str, str]
) -> Findings:
    """:class:`Findings`, with the errors first."""
    ordered = sorted(found, key=lambda finding: finding.severity is Severity.WARNING)
    return Findings(tuple(ordered), tuple(checked), dict(unchecked))


_fill = partial(fill, width=_WIDTH, break_long_words=False, break_on_hyphens=False)


def _paragraph(text: str, label: str = "") -> str:
    return _fill(label + text, initial_indent="  ", subsequent_indent="  " + " " * len(label))
