"""`--dataset FILE` and `--dataset FILE:2`: which files, and how often an epoch visits each of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedctl.errors import ConfigError, DataError


@dataclass(frozen=True)
class Source:
    """A data file and the visits of each of its rows in an epoch."""

    path: str
    weight: float = 1.0


def parse(spec: str) -> Source:
    """The source that a `--dataset` names; a file whose own name ends in `:2` is taken as that file.

    Raises:
        ConfigError: the weight is not above 0.
    """
    path, colon, weight = spec.rpartition(":")
    if not colon or Path(spec).exists() or not weight.replace(".", "", 1).isdigit():
        return Source(spec)
    if float(weight) <= 0:
        hint = "leave the file out to visit none of its rows"
        raise ConfigError(f"--dataset {spec}: the weight must be above 0", hint)
    return Source(path, float(weight))


def parse_all(specs: Sequence[str]) -> list[Source]:
    """The sources of all `--dataset` flags.

    Raises:
        ConfigError: a weight is not above 0.
        DataError: a file is missing.
    """
    sources = [parse(spec) for spec in specs]
    for source in sources:
        if not Path(source.path).is_file():
            raise DataError(missing(source.path), "check --dataset; without it the example rows are used")
    return sources


def missing(path: str) -> str:
    """What is wrong with a path that is no file."""
    return f"{path}: is a folder, not a data file" if Path(path).is_dir() else f"{path}: no such file"
