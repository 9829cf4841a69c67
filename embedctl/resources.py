"""Locations of the shipped files, of the home folder and of the cache.

In a checkout, the folders `example_data` and `config` are beside the package; in an installed wheel, they are inside.
The folder `embedctl/config` exists in both cases, because it contains the modules of `embedctl.config`. So code must
check whether a file exists, not whether its folder does.
"""

from __future__ import annotations

import getpass
import os
import stat
import tempfile
from pathlib import Path

from embedctl.errors import ConfigError

PACKAGE = Path(__file__).parent
# Variables of the environment that name a folder to which a library writes, in the home folder by default.
LIBRARY_FOLDERS = {"TRITON_CACHE_DIR": "triton", "MPLCONFIGDIR": "matplotlib"}


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


def home_folder() -> Path:
    """Return the user's home folder; without HOME and an entry in the list of users, a folder in the temporary one."""
    try:
        return Path.home()
    except RuntimeError:
        return _temporary_folder()


def _temporary_folder() -> Path:
    """Return the path of this user's folder in the temporary folder."""
    return Path(tempfile.gettempdir()) / f"embedctl-{os.getuid() if hasattr(os, 'getuid') else 'user'}"


def complete_environment() -> None:
    """Set what libraries fail without: a home folder, the name of the user, and folders that can be written.

    Raises:
        ConfigError: the home folder and the temporary folder cannot be written.
    """
    home = home_folder()
    os.environ.setdefault("HOME", str(home))
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())
    if not os.access(home, os.W_OK):
        for variable, name in LIBRARY_FOLDERS.items():
            os.environ.setdefault(variable, str(private_cache(name)))


def cache_folder(name: str = "") -> Path:
    """Return the cache folder, or the folder `name` in it; neither is created.

    The cache folder is $EMBEDCTL_CACHE, else $XDG_CACHE_HOME/embedctl, else ~/.cache/embedctl.
    """
    explicit = os.environ.get("EMBEDCTL_CACHE")
    base = (
        Path(explicit) if explicit else Path(os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache") / "embedctl"
    )
    return base / name if name else base


def private_cache(name: str) -> Path:
    """Create the folder `name` of the cache, accessible to this user only, and return it.

    If it cannot be created or belongs to another user, a folder of this user in the temporary folder is used instead,
    unless EMBEDCTL_CACHE names the cache folder.

    Raises:
        ConfigError: the folder of EMBEDCTL_CACHE, or neither of the two folders, can be used.
    """
    folder = cache_folder(name)
    if _make_private(folder):
        return folder
    explicit, hint = (
        os.environ.get("EMBEDCTL_CACHE"),
        "set the environment variable EMBEDCTL_CACHE to a folder of your own",
    )
    if explicit:
        raise ConfigError(f"EMBEDCTL_CACHE={explicit}: the folder cannot be written or belongs to another user", hint)
    own = _temporary_folder()
    if _make_private(own) and _make_private(own / name):
        return own / name
    message = f"the cache folder {folder} cannot be written or belongs to another user, and neither can {own}"
    raise ConfigError(message, hint)


def _make_private(folder: Path) -> bool:
    """Create a folder for this user only; return whether it is usable: it belongs to the user and is writable."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True, mode=0o700)
        status = folder.stat()
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            return False
        if stat.S_IMODE(status.st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


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
