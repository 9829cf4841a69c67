"""The data files of `--dataset FILE` and `--dataset FILE:WEIGHT`, and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedctl.errors import ConfigError, DataError
from embedctl.reading.files import check_readable_again


@dataclass(frozen=True)
class Source:
    """A data file and its weight: the number of visits per row and epoch."""

    path: str
    weight: float = 1.0


def parse_dataset_option(spec: str) -> Source:
    """Return the source of one `--dataset` value. An existing file whose name ends in `:2` has no weight.

    Raises:
        ConfigError: the weight is not above 0.
    """
    path, colon, weight = spec.rpartition(":")
    if not colon or Path(spec).exists() or not weight.replace(".", "", 1).isdigit():
        return Source(spec)
    if float(weight) <= 0:
        raise ConfigError(f"--dataset {spec}: the weight must be above 0", "omit the file to train without its rows")
    return Source(path, float(weight))


def parse_dataset_options(specs: Sequence[str]) -> list[Source]:
    """Return the sources of all `--dataset` options.

    Raises:
        ConfigError: a weight is not above 0, or a file is a pipe.
        DataError: a file is missing.
    """
    sources = [parse_dataset_option(spec) for spec in specs]
    for source in sources:
        check_readable_again(source.path, "--dataset", "training reads the rows several times")
        if not Path(source.path).is_file():
            hint = "correct the path in --dataset, or omit --dataset to train on the example rows"
            raise DataError(missing_file_message(source.path), hint)
    return sources


def missing_file_message(path: str) -> str:
    """Return the error message for a path that is not a file."""
    return f"{path}: this is a folder, not a data file" if Path(path).is_dir() else f"{path}: no such file"
