"""A worker depends on its launcher."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from embedctl.distributed.worker import LAUNCHER

WORKER = "from embedctl.distributed.worker import die_with_parent; die_with_parent(); print('alive')"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process of its parent's end")
@pytest.mark.parametrize(("launcher", "said"), [(os.getpid(), "alive\n"), (2**22 + 1, "")])
def test_a_worker_without_its_launcher_ends(launcher, said):
    """A launcher that was killed while the worker imported torch is not the parent any more."""
    ended = subprocess.run(
        [sys.executable, "-c", WORKER],
        env=os.environ | {LAUNCHER: str(launcher)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == said
    assert ended.returncode == (0 if said else 1)
