"""Commands in messages, which the user can copy to a shell."""

from __future__ import annotations

import shlex


def embedctl_command(*words: object) -> str:
    """Return a command line of embedctl in which each word is quoted where a shell requires it."""
    return shlex.join(["embedctl", *map(str, words)])
