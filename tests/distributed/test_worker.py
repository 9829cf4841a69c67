"""A worker ends together with its launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import embedctl
from embedctl.distributed.worker import LAUNCHER_PID, report_failure

WORKER = "from embedctl.distributed.worker import die_with_parent; die_with_parent(); print('alive')"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the end of the parent process")
@pytest.mark.parametrize(
    ("launcher", "output"), [(os.getpid(), "alive\n"), (2**22 + 1, "")], ids=["launcher-alive", "launcher-gone"]
)
def test_worker_ends_after_its_launcher_has_ended(launcher, output):
    """If the launcher is killed while the worker imports torch, the worker has another parent afterwards."""
    ended = subprocess.run(
        [sys.executable, "-c", WORKER],
        env=os.environ | {LAUNCHER_PID: str(launcher)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == output
    assert ended.returncode == (0 if output else 1)


@pytest.mark.parametrize("module", ["embedctl.training.worker", "embedctl.encoding.worker"])
def test_a_worker_without_a_configuration_prints_what_it_takes(module, tmp_path):
    for arguments in ([], ["none.yaml"]):
        ended = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env=os.environ | {"PYTHONPATH": str(Path(embedctl.__file__).parents[1])},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"error: `python -m {module} FOLDER/config.yaml` takes the configuration")
        assert list(tmp_path.iterdir()) == []


def test_a_worker_without_a_supervisor_prints_its_error(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(LAUNCHER_PID, raising=False)
    report_failure(tmp_path, 2, "it is wrong", "fix it")
    assert capsys.readouterr().err == "error: it is wrong\n  -> fix it\n"
    monkeypatch.setenv(LAUNCHER_PID, "1")
    report_failure(tmp_path, 2, "it is wrong", "fix it")
    assert capsys.readouterr().err == ""
