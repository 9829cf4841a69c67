"""Tests of `encode --num-processes`: output equal to one process, also after a kill; one message per failure."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from embedctl import cli

THREADS = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
TEXTS = [f"{'river stone ' * (number % 7)}cloud {number} 学习" for number in range(2000)]


@pytest.fixture
def command(tiny_model, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")

    def command(*arguments: object) -> list[str]:
        fixed = ["encode", "--ckpt", tiny_model, "-i", tmp_path / "texts.txt", "--device", "cpu"]
        return [sys.executable, "-m", "embedctl", *map(str, [*fixed, *arguments])]

    return command


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=os.environ | THREADS, capture_output=True, text=True, check=False, timeout=200)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread, as in the workers, because the order of summation depends on the threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_two_processes_after_a_kill_write_the_same_bytes_as_one(command, tmp_path, monkeypatch):
    """With int8, all processes must use the ranges of the first shard."""
    flags = ["--shard-rows", 100, "--dtype", "int8", "--index", "flat", "--json"]
    two = command("-o", f"{tmp_path}/two/", *flags, "--num-processes", 2)
    process = subprocess.Popen(two, env=os.environ | THREADS, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "two").glob("shard-*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    complete = 100 * len(list((tmp_path / "two").glob("shard-*.json")))
    assert 0 < complete < len(TEXTS)
    ended = run(two)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["rows"] == len(TEXTS)
    assert f"encoded {len(TEXTS) - complete:,} texts to" in ended.stderr
    assert f"reused the embeddings of {complete:,} texts" in ended.stderr
    monkeypatch.setattr(sys, "argv", command("-o", f"{tmp_path}/one/", *flags)[2:])
    with pytest.raises(SystemExit) as exited, one_thread():
        cli.main()
    assert not exited.value.code
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert files_of(tmp_path / "two.index") == files_of(tmp_path / "one.index")


def test_the_same_error_in_all_processes_is_printed_once(command, tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"fine\nh\xff\n")
    ended = run(command("-o", f"{tmp_path}/x/", "--num-processes", 2))
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {tmp_path}/texts.txt:2: line: byte 1 is not valid UTF-8")
    assert ended.stderr.count("\n") == 2
