"""Passwords and access tokens: found in settings, which are written to files, and removed from messages.

Two kinds are known: the user name and password in a URL, and values of environment variables such as HF_TOKEN.
"""

from __future__ import annotations

import os
import re

URL_CREDENTIALS = re.compile(r"(?<=://)[^\s/?#]*@")  # `user:password@` in https://user:password@host/
SECRET_VARIABLE = re.compile(r"(API_?KEY|ACCESS_KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)
MIN_SECRET_LENGTH = 12  # a shorter value of such a variable may be an ordinary word
MASK = "***"


def credential_in(text: str) -> str:
    """Return a description of the first credential in a text, without its value; empty if there is none."""
    if URL_CREDENTIALS.search(text):
        return "the user name or password of a URL"
    return next(
        (f"the value of the environment variable {name}" for name in _secrets() if os.environ[name] in text), ""
    )


def masked(text: str) -> str:
    """Return a text with its credentials replaced by `***`."""
    for name in _secrets():
        text = text.replace(os.environ[name], MASK)
    return URL_CREDENTIALS.sub(f"{MASK}@", text)


def _secrets() -> list[str]:
    """Return the names of the environment variables whose values are secret."""
    names = (name for name, value in os.environ.items() if len(value) >= MIN_SECRET_LENGTH)
    return [name for name in names if SECRET_VARIABLE.search(name)]
