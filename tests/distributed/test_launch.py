"""How a worker's end becomes a message and an exit code."""

from __future__ import annotations

import subprocess

import pytest

from embedctl.distributed.launch import run_launcher


@pytest.mark.parametrize(
    ("returned", "code", "words"),
    [(-2, 130, "stopped"), (-15, 143, "stopped"), (-9, 137, "killed by signal 9"), (-11, 139, "signal 11"), (2, 2, "")],
)
def test_the_exit_code_says_how_the_worker_ended(monkeypatch, returned, code, words):
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def start() -> None:
        raise subprocess.CalledProcessError(returned, "worker")

    ended = run_launcher(start)
    assert ended.code == code
    assert words in ended.message
