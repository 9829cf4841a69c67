"""Commands in messages, which the user can copy to a shell."""

from __future__ import annotations

import shlex


def embedctl_command(*words: object, trust_remote_code: bool = False) -> str:
    """Return a command line of embedctl in which each word is quoted where a shell requires it.

    With `trust_remote_code`, the option is added, because the model of the command comes with Python code.
    """
    return shlex.join(["embedctl", *map(str, words), *(["--trust-remote-code"] if trust_remote_code else [])])
