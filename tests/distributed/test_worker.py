"""A worker ends together with its launcher."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from embedctl.distributed.worker import LAUNCHER_PID

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
