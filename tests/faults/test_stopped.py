"""Commands that are killed or stopped at random moments: nothing is lost, and the next run gives the same files."""

from __future__ import annotations

import random
import signal
import tempfile
from pathlib import Path

import pytest


def is_left_by_a_kill(name: str) -> bool:
    """Only SIGKILL may leave these; the next run removes them."""
    return ".tmp" in name or name.endswith(".lock")


def test_killed_runs_end_with_the_files_of_an_uninterrupted_run(name, commands, contents, server, tries, tmp_path):
    """A run that ends before its kill is compared, and the next kill is in a new folder."""
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    uninterrupted.mkdir()
    killed.mkdir()
    first = server.run(*commands[name], folder=uninterrupted)
    assert first.code == 0, first.stderr
    expected, draw, kills = contents(uninterrupted), random.Random(name), 0
    while kills < tries:
        ended = server.run(*commands[name], folder=killed, stop=(signal.SIGKILL, draw.uniform(0, first.seconds)))
        assert ended.code in (0, -signal.SIGKILL), ended.stderr
        if ended.code == 0:
            assert contents(killed) == expected
            killed = Path(tempfile.mkdtemp(dir=tmp_path))
            continue
        kills += 1
        found = {key: value for key, value in contents(killed).items() if not is_left_by_a_kill(key)}
        for key in found.keys() & expected.keys() - {"v/manifest.json"}:
            assert found[key] == expected[key], f"{key} is incomplete after a kill"
    last = server.run(*commands[name], folder=killed)
    assert last.code == 0, last.stderr
    assert contents(killed) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_leaves_no_temporary_files(name, number, commands, contents, server, tries, tmp_path):
    first = server.run(*commands[name], folder=tmp_path)
    assert first.code == 0, first.stderr
    expected, draw, stops = contents(tmp_path), random.Random(f"{name} {number}"), 0
    for attempt in range(max(tries // 2, 1)):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        ended = server.run(*commands[name], folder=folder, stop=(number, draw.uniform(0.1, first.seconds)))
        left = contents(folder)
        if ended.code == -number:  # the signal came before the command line was read
            assert (ended.stderr, left) == ("", {})
            continue
        assert ended.code in (0, 128 + number), ended.stderr
        assert "Traceback" not in ended.stderr
        assert [key for key in left if is_left_by_a_kill(key)] == []
        if ended.code:
            stops += 1
            assert "error: " in ended.stderr
        else:
            assert left == expected
    print(f"{name}: {stops} stops by {signal.Signals(number).name}")
