"""Exit code and message of the supervisor for each way in which the workers end."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from embedctl.distributed import supervise
from embedctl.distributed.launch import LaunchJob
from embedctl.distributed.supervise import Outcome, main, rendezvous_message, run_launcher, with_worker_report


@pytest.mark.parametrize(
    ("returned", "code", "message"),
    [(-2, 130, "stopped"), (-15, 143, "stopped"), (-9, 137, "killed by SIGKILL"), (-11, 139, "signal 11"), (2, 2, "")],
)
def test_exit_code_of_the_worker_determines_the_outcome(monkeypatch, returned, code, message):
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def launch() -> None:
        raise subprocess.CalledProcessError(returned, "worker")

    outcome = run_launcher(launch, signal.SIG_DFL)
    assert outcome.code == code
    assert message in outcome.message
    assert outcome.hint


@pytest.mark.parametrize(("number", "hint"), [(9, "memory"), (7, "/dev/shm is full"), (4, "processor"), (11, "a bug")])
def test_a_signal_of_the_system_has_its_own_hint(number, hint):
    assert hint in supervise._outcome_of(-number, "the worker process").hint


def write_report(folder: Path, rank: int, time: float, **facts) -> None:
    failure = {"code": 2, "message": f"rank {rank}", "hint": "", "time": time, "traceback": f"traceback.rank{rank}.txt"}
    (folder / f"error.rank{rank}.json").write_text(json.dumps(failure | facts))


def test_earliest_report_is_used(tmp_path: Path):
    outcome = Outcome(1, "the worker of rank 0 exited with code 1")
    assert with_worker_report(tmp_path, outcome) is outcome
    write_report(tmp_path, 0, 5.0)
    write_report(tmp_path, 1, 4.0, hint="do this")
    assert with_worker_report(tmp_path, outcome) == Outcome(2, "rank 1", "do this")
    write_report(tmp_path, 2, 3.0, code=70)
    assert with_worker_report(tmp_path, outcome).hint.endswith(f"{tmp_path}/traceback.rank2.txt")


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch):
    """Return a function that supervises a job whose launcher returns a given outcome, and returns the exit code."""

    def supervised(outcome: Outcome, **values) -> int:
        monkeypatch.setattr(supervise, "run_launcher", lambda _launch, _handler: outcome)
        monkeypatch.setattr(supervise, "create_launcher", lambda _job: None)
        (tmp_path / "job").mkdir()
        return main(LaunchJob("some.worker", str(tmp_path / "job"), remove_folder=True, **values))

    return supervised


def test_stop_hint_of_the_job_is_printed(supervised, tmp_path, capsys):
    assert supervised(Outcome(130, "interrupted"), stop_hint="run the same command again") == 130
    assert capsys.readouterr().err.split("\n")[:2] == ["error: interrupted", "  -> run the same command again"]
    assert not (tmp_path / "job").exists()


def test_folder_with_a_traceback_is_kept(supervised, tmp_path):
    assert supervised(Outcome(70, "a bug")) == 70
    assert (tmp_path / "job").exists()


def test_config_error_is_printed_and_the_folder_removed(supervised, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert supervised(Outcome(0), processes=3, strategy="ddp", cpu_option="--device cpu") == 2
    printed = capsys.readouterr().err
    assert "error: --num-processes 3: this machine has only 2 GPUs" in printed
    assert "use --num-processes 2, or --device cpu" in printed
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    "error", [ConnectionError("port 1 is in use"), torch.distributed.DistNetworkError("no answer")]
)
def test_processes_that_cannot_be_connected_are_an_error_of_the_user(error, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def launch() -> None:
        raise error

    outcome = run_launcher(launch, signal.SIG_DFL)
    assert (outcome.code, outcome.message) == (2, f"the processes cannot be connected: {error}")
    assert "--main-process-port" in outcome.hint


def test_machines_print_what_they_wait_for():
    main = {"worker": "w", "folder": "f", "machines": 3, "main_process_ip": "10.0.0.1", "main_process_port": 29500}
    end = "at 10.0.0.1:29500; Ctrl-C stops waiting"
    assert rendezvous_message(LaunchJob(**main)) == f"machine 0 of 3: waiting for 2 other machines {end}"
    assert (
        rendezvous_message(LaunchJob(**main, machine_rank=2)) == f"machine 2 of 3: waiting for the main machine {end}"
    )
