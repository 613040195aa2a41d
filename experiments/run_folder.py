"""The one folder that everything of a run goes to."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

__all__ = ["RunFolder", "RunFolderError", "write_json", "write_text"]


class RunFolderError(RuntimeError):
    """A run folder that cannot be used: what it holds, and what to do."""


class RunFolder:
    """A folder that belongs to one configuration, for good.

    By default its name is made of the configuration, so that the same command finds its run again
    and another one cannot touch it.

    Args:
        path: the folder, or ``None`` for ``runs/<experiment>/<data>-<digest>``.
        experiment: the experiment's name.
        config: a frozen dataclass with a field ``data``; the device and other things that do not
            change what is computed stay out of the comparison.

    Raises:
        RunFolderError: the folder is another configuration's, or holds files of something else.
    """

    def __init__(self, path: Path | None, experiment: str, config: Any) -> None:
        own = {"experiment": experiment, "config": _comparable(config)}
        default = Path("runs") / experiment / f"{config.data}-{_digest(own)}"
        self.path = default if path is None else path
        stored = self.path / "config.json"
        if stored.exists():
            _check_same(stored, own)
        else:
            _check_empty(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(stored, own)

    def __truediv__(self, name: str) -> Path:
        return self.path / name


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _comparable(config: Any) -> dict[str, Any]:
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k != "device"}
    return json.loads(json.dumps(settings))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def _check_empty(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunFolderError(
            f"{path}: expected a folder; got a file. Give another folder with --out."
        )
    # A run killed in its first moment has left half a configuration: that is no other's file.
    if path.exists() and any(p.name != "config.json.partial" for p in path.iterdir()):
        raise RunFolderError(
            f"{path}: expected an empty folder or one of this experiment's; got one with "
            "other files and no config.json. Give another folder with --out."
        )


def _check_same(stored: Path, own: dict[str, Any]) -> None:
    try:
        config, other = _flat(own), _flat(json.loads(stored.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{stored}: expected a run's configuration; got {error!r}. Give another folder with "
            "--out, or delete this one."
        ) from error
    differing = sorted(k for k in config.keys() | other.keys() if config.get(k) != other.get(k))
    if not differing:
        return
    told = "; ".join(f"{k}: {config.get(k)} asked for, {other.get(k)} there" for k in differing)
    raise RunFolderError(
        f"{stored.parent}: expected a run with the settings asked for; got another's ({told}). "
        "Give another folder with --out, or its own settings to go on with it."
    )


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    return {"experiment": content["experiment"], **content["config"]}
