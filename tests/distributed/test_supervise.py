"""How the workers' end becomes a message and an exit code."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from embedctl.distributed import supervise
from embedctl.distributed.launch import LaunchJob
from embedctl.distributed.supervise import Outcome, main, reported, run_launcher


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


def report(folder: Path, rank: int, time: float, **facts) -> None:
    document = {
        "code": 2,
        "message": f"rank {rank}",
        "hint": "",
        "time": time,
        "traceback": f"traceback.rank{rank}.txt",
    }
    (folder / f"error.rank{rank}.json").write_text(json.dumps(document | facts))


def test_the_earliest_report_counts(tmp_path: Path):
    ended = Outcome(1, "the worker of rank 0 exited with code 1")
    assert reported(tmp_path, ended) is ended
    report(tmp_path, 0, 5.0)
    report(tmp_path, 1, 4.0, hint="do this")
    assert reported(tmp_path, ended) == Outcome(2, "rank 1", "do this")
    report(tmp_path, 2, 3.0, code=70)
    assert reported(tmp_path, ended).hint.endswith(f"{tmp_path}/traceback.rank2.txt")


@pytest.fixture
def ending(tmp_path: Path, monkeypatch):
    """Supervise a temporary job whose launcher ends in a given way; gives the exit code."""

    def ending(outcome: Outcome, **values) -> int:
        monkeypatch.setattr(supervise, "run_launcher", lambda _start: outcome)
        monkeypatch.setattr(supervise, "launcher", lambda _job: None)
        (tmp_path / "job").mkdir()
        return main(LaunchJob("some.worker", str(tmp_path / "job"), temporary=True, **values))

    return ending


def test_a_stop_is_said_in_the_words_of_the_job(ending, tmp_path, capsys):
    assert ending(Outcome(130, "interrupted"), after_stop="the same command goes on") == 130
    assert capsys.readouterr().err.split("\n")[:2] == ["error: interrupted", "  -> the same command goes on"]
    assert not (tmp_path / "job").exists()


def test_a_temporary_folder_with_a_traceback_stays(ending, tmp_path):
    assert ending(Outcome(70, "a bug")) == 70
    assert (tmp_path / "job").exists()


def test_a_mistake_is_said_and_leaves_nothing(ending, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert ending(Outcome(0), processes=3, strategy="ddp", cpu_flag="--device cpu") == 2
    said = capsys.readouterr().err
    assert "error: --num-processes 3: this machine shows 2 GPUs" in said
    assert "--num-processes 2, or --device cpu" in said
    assert not (tmp_path / "job").exists()
