"""Output of a training run: progress bar, OUT/metrics.jsonl and trackers. Only rank 0 writes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from embedctl import console
from embedctl.console import Bar, plural
from embedctl.distributed.ranks import is_main
from embedctl.errors import OutputError
from embedctl.files import write_atomically
from embedctl.run_folder import RunFolder
from embedctl.training.job import TrainJob
from embedctl.training.trackers import GuardedTracker

METRICS_FILE = "metrics.jsonl"


def remove_metrics_after(path: Path, step: int) -> None:
    """Remove the lines of metrics.jsonl after a step; the resumed run writes them again.

    At step 0, all lines are removed. A damaged line, such as half a line at the end, ends the part that is kept.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if step else ():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            console.warn(f"{path}: a line is damaged; it and the lines after it are removed")
            break
    write_atomically(path, "".join(f"{line}\n" for line in kept))


class Monitor:
    """Progress bar, metrics file and tracker of a run; `start` of its `total` steps were done before it was resumed."""

    def __init__(self, accelerator: Any, job: TrainJob, start: int, total: int) -> None:
        if is_main():
            RunFolder(job.folder).add([METRICS_FILE])
        self._file = (job.folder / METRICS_FILE if is_main() else Path(os.devnull)).open("a", encoding="utf-8")
        self._bar = Bar("train", total, "steps")
        self._bar.advance(start, "")
        self._start, self._rows, self._tokens, self._paused = time.monotonic(), 0, 0, 0.0
        self.tracker = GuardedTracker(accelerator, job)
        self.tracker.start(flatten(job.settings))

    def record_step(self, step: int, numbers: dict[str, float], rows: int, tokens: int) -> None:
        """Record a step: its numbers of rows and tokens, and other numbers, of which loss and lr are shown."""
        self._rows, self._tokens = self._rows + rows, self._tokens + tokens
        elapsed = max(time.monotonic() - self._start - self._paused, 1e-9)
        rates = {"rows_per_s": self._rows / elapsed, "tokens_per_s": self._tokens / elapsed}
        self._write({"step": step, **numbers, **rates})
        speed = f"{rates['rows_per_s']:,.0f} rows/s  {rates['tokens_per_s']:,.0f} tokens/s"
        self._bar.advance(1, f"loss {numbers['loss']:.4f}  lr {numbers['lr']:.1e}  {speed}")

    def record_evaluation(self, step: int, metrics: dict[str, float], seconds: float) -> None:
        """Record an evaluation; its duration is excluded from the rates."""
        self._paused += seconds
        self._write({"step": step, "eval": metrics, "eval_seconds": round(seconds, 3)})
        shown = ", ".join(f"{name} {value:.4f}" for name, value in list(metrics.items())[:3])
        console.info(f"evaluation at step {step}: {shown}")

    def record_mining(self, step: int, epoch: int, numbers: dict[str, int], seconds: float) -> None:
        """Record the mining for an epoch (counted from 0); its duration is excluded from the rates."""
        self._paused += seconds
        self._write({"step": step, **{f"mined_{name}": n for name, n in numbers.items()}, "mined_seconds": seconds})
        above = numbers["above_positive"]
        one, several = "negative scores above its row's positive", "negatives score above their row's positive"
        warning = (
            f"; possible false negatives: {plural(above, one, several)} (use --remine-margin 0 to reject such passages)"
        )
        counts = f"{plural(numbers['negatives'], 'negative')} for {plural(numbers['rows'], 'row')}"
        console.info(f"epoch {epoch + 1}: mined {counts} in {seconds:.1f} s{warning if above else ''}")

    def _write(self, record: dict[str, Any]) -> None:
        if os.fstat(self._file.fileno()).st_nlink == 0:  # the file was removed; another run may use the folder now
            message = f"{self._file.name} was removed while the run trained; the run was stopped"
            raise OutputError(message, "start the run again, or continue it with --resume if its folder has states/")
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        numbers = {f"eval/{name}": value for name, value in record.get("eval", {}).items()}
        numbers |= {f"train/{name}": value for name, value in record.items() if name not in ("step", "eval")}
        self.tracker.log(numbers, step=record["step"])

    def close(self) -> None:
        """Remove the bar, and close the metrics file and the tracker."""
        self._bar.close()
        self._file.close()
        self.tracker.finish()


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, int | float | str]:
    """Convert nested settings to `section.key` -> number or string, the only types that all trackers accept."""
    flat: dict[str, int | float | str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, int | float | str) else str(value)
    return flat
