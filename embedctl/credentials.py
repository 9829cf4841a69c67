"""Passwords and access tokens: found in settings, which are written to files, and removed from messages.

Two kinds are known: the user name and password in a URL, and values of environment variables such as HF_TOKEN.
"""

from __future__ import annotations

import os
import re

URL_CREDENTIALS = re.compile(r"(?<=://)[^\s/?#]*@")  # `user:password@` in https://user:password@host/
# The last or the last but one word of the name, for example of HF_TOKEN_READ.
SECRET_VARIABLE = re.compile(
    r"(?:^|_|API)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASS|PAT|CREDENTIALS?)(?:_[A-Z0-9]+)?$", re.IGNORECASE
)
MIN_SECRET_LENGTH = 12  # a shorter value of such a variable may be an ordinary word
MASK = "***"


def credential_in(text: str) -> str:
    """Return a description of the first credential in a text, without its value; empty if there is none."""
    if URL_CREDENTIALS.search(text):
        return "the user name or password of a URL"
    found = (name for name, value in _secrets().items() if value in text)
    return next((f"the value of the environment variable {name}" for name in found), "")


def masked(text: str) -> str:
    """Return a text with its credentials replaced by `***`."""
    for value in _secrets().values():
        text = text.replace(value, MASK)
    return URL_CREDENTIALS.sub(f"{MASK}@", text)


def _secrets() -> dict[str, str]:
    """Return the values of the environment variables that are secret, without spaces around them, by name.

    The path of an existing file, for example of one with credentials, is not secret.
    """
    stripped = {name: value.strip() for name, value in os.environ.items() if SECRET_VARIABLE.search(name)}
    return {name: text for name, text in stripped.items() if len(text) >= MIN_SECRET_LENGTH and not _is_path(text)}


def _is_path(text: str) -> bool:
    return os.path.isabs(text) and os.path.exists(text)  # noqa: PTH110, PTH117  a secret may be an invalid path
