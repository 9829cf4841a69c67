"""Run the command line many times: a server process imports everything once and forks a process per run.

`python forked.py` reads one JSON object per line (see `Server.run`) and writes how the run ended as JSON (see `Ended`).
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple


class Ended(NamedTuple):
    """How a run ended."""

    code: int  # exit code; -N if signal N ended it
    stdout: str
    stderr: str
    seconds: float


class Server:
    """Starts the server process, and stops it at the end of a with-block."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.communicate()

    def run(
        self,
        *arguments: object,
        folder: Path,
        stop: tuple[int, float] | None = None,
        stop_when: str | None = None,
        remove_when: tuple[str, str] | None = None,
        file_size: int | None = None,
        stdin: str = "",
    ) -> Ended:
        """Run `embedctl` in a folder.

        Args:
            arguments: of the command line.
            folder: the working folder.
            stop: a signal, and the seconds after which it is sent.
            stop_when: a path; SIGTERM is sent when it exists.
            remove_when: a pattern of a path, and a folder; the folder is removed when such a path exists.
            file_size: limit of the size of files in bytes; writing more is an error, as on a full disk.
            stdin: text on standard input.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"arguments": list(map(str, arguments)), "folder": str(folder), "stop": stop, "stdin": stdin}
        request |= {"file_size": file_size, "stop_when": stop_when and str(folder / stop_when)}
        request |= {"remove_when": remove_when}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return Ended(**json.loads(self.process.stdout.readline()))


def serve() -> None:
    """Run the command lines that standard input requests, until it is closed."""
    import faiss  # noqa: F401
    import sentence_transformers  # noqa: F401

    import embedctl.encoding.run
    import embedctl.evaluation.job
    import embedctl.mining.run  # noqa: F401

    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(run_forked(json.loads(line))), file=results, flush=True)


def run_forked(request: dict[str, Any]) -> dict[str, Any]:
    """Fork a process for a run, stop it if that is requested, and return how it ended."""
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    os.write(files[0], request["stdin"].encode())
    os.lseek(files[0], 0, os.SEEK_SET)
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        run_child(request, files)
    if request["remove_when"]:
        remove_when(child, request["folder"], *request["remove_when"])
    code = wait(child, request["stop"], request["stop_when"])
    outputs = []
    for file in files[1:]:
        os.lseek(file, 0, os.SEEK_SET)
        outputs.append(os.read(file, 1 << 22).decode("utf-8", "replace"))
    for file in files:
        os.close(file)
    return {"code": code, "stdout": outputs[0], "stderr": outputs[1], "seconds": time.monotonic() - begun}


def remove_when(child: int, working_folder: str, pattern: str, removed: str) -> None:
    """Remove a folder when a path with the given pattern exists; return at the end of the process at the latest."""
    handle = os.pidfd_open(child)
    while not any(Path(working_folder).glob(pattern)) and not select.select([handle], [], [], 0.001)[0]:
        pass
    os.close(handle)
    shutil.rmtree(Path(working_folder, removed), ignore_errors=True)


def wait(child: int, stop: tuple[int, float] | None, stop_when: str | None) -> int:
    """Wait for the end of a process, and send it a signal after some seconds, or when a path exists."""
    handle = os.pidfd_open(child)
    while stop_when and not select.select([handle], [], [], 0.02)[0]:
        if os.path.exists(stop_when):  # noqa: PTH110
            stop, stop_when = (signal.SIGTERM, 0.0), None
    number, seconds = stop or (signal.SIGKILL, 240.0)
    if not select.select([handle], [], [], seconds)[0]:
        signal.pidfd_send_signal(handle, number)
        if not select.select([handle], [], [], 60.0)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_child(request: dict[str, Any], files: list[int]) -> None:
    """Run the command line in this process, which is a fork of the server."""
    code = 1
    try:
        os.setsid()
        for target, file in enumerate(files):
            os.dup2(file, target)
        os.chdir(request["folder"])
        if request["file_size"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"],) * 2)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        sys.argv = ["embedctl", *request["arguments"]]
        from embedctl.__main__ import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
