"""Where the files shipped with the package and the cache lie.

`example_data` and `config` stand beside the package in a checkout and inside it in an installed wheel.
The folder inside is also that of the modules of `embedctl.config`: that it is there does not say that the files are.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parent


def shipped(name: str) -> Path:
    """The folder `example_data`, or a file in `config`, as shipped.

    Raises:
        FileNotFoundError: the installation is broken.
    """
    for root in (PACKAGE, PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} is missing beside {PACKAGE}")


def example_data(name: str = "") -> Path:
    """The example data folder, or the file `name` in it."""
    return shipped("example_data") / name


def config_file(name: str) -> Path:
    """The file `name` of the shipped configuration folder."""
    return shipped(f"config/{name}")


def cache_folder(name: str = "") -> Path:
    """The cache folder: $EMBEDCTL_CACHE, else $XDG_CACHE_HOME/embedctl, else ~/.cache/embedctl. Not created here."""
    explicit = os.environ.get("EMBEDCTL_CACHE")
    base = Path(explicit) if explicit else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embedctl"
    return base / name if name else base


def shown(path: str) -> str:
    """A path as a human wants to read it: `example_data/...` if shipped, from the working folder if it lies there."""
    for root, name in ((example_data(), "example_data"), (Path.cwd(), "")):
        if Path(path).is_absolute() and Path(path).is_relative_to(root):
            return str(name / Path(path).relative_to(root))
    return path


def input_or_example(path: str) -> tuple[str, bool]:
    """`path` as given, or the example file of that bare name where the working folder has none.

    The lines of the manual (`embedctl validate-data file.json`, `encode -i texts.txt`) so run in an empty folder.

    Returns:
        The path to read, and whether it is the shipped example (the caller says so).
    """
    if path in {"file.json", "texts.txt"} and not Path(path).exists():
        return str(example_data(path)), True
    return path, False
