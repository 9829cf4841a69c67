"""Locations of the shipped files and of the cache.

In a checkout, the folders `example_data` and `config` are beside the package; in an installed wheel, they are inside.
The folder `embedctl/config` exists in both cases, because it contains the modules of `embedctl.config`. So code must
check whether a file exists, not whether its folder does.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parent


def shipped_path(name: str) -> Path:
    """Return the path of the folder `example_data` or of a file in `config`.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for root in (PACKAGE, PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} is missing beside {PACKAGE}")


def example_data(name: str = "") -> Path:
    """Return the path of the example data folder, or of the file `name` in it."""
    return shipped_path("example_data") / name


def config_file(name: str) -> Path:
    """Return the path of a shipped configuration file."""
    return shipped_path(f"config/{name}")


def cache_folder(name: str = "") -> Path:
    """Return the cache folder, or the folder `name` in it; neither is created.

    The cache folder is $EMBEDCTL_CACHE, else $XDG_CACHE_HOME/embedctl, else ~/.cache/embedctl.
    """
    explicit = os.environ.get("EMBEDCTL_CACHE")
    base = Path(explicit) if explicit else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embedctl"
    return base / name if name else base


def display_path(path: str) -> str:
    """Shorten an absolute path for messages.

    A shipped file becomes `example_data/...`; a path below the working folder becomes relative to it.
    """
    for root, name in ((example_data(), "example_data"), (Path.cwd(), "")):
        if Path(path).is_absolute() and Path(path).is_relative_to(root):
            return str(name / Path(path).relative_to(root))
    return path


def input_or_example(path: str) -> tuple[str, bool]:
    """Return the path to read, and whether it is a shipped example file.

    If `file.json` or `texts.txt` does not exist in the working folder, the example file of that name is used, so that
    the commands of the manual (`embedctl validate-data file.json`, `encode -i texts.txt`) run in an empty folder. The
    caller prints a message if the example file is used.
    """
    if path in {"file.json", "texts.txt"} and not Path(path).exists():
        return str(example_data(path)), True
    return path, False
