"""Commands in messages."""

from __future__ import annotations

import shlex
from pathlib import Path

from embedctl.shell import embedctl_command


def test_each_word_is_one_word_for_a_shell():
    words = ["train", "--dataset", Path("my rows & more's.jsonl"), "-o", "out"]
    assert shlex.split(embedctl_command(*words)) == ["embedctl", *map(str, words)]
    assert embedctl_command("eval", "--ckpt", "out") == "embedctl eval --ckpt out"
