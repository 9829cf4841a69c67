"""What a run shows and records: panels, the live bar, OUT/metrics.jsonl and the trackers. Only the main rank speaks."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from embedctl import console
from embedctl.console import Bar
from embedctl.distributed.ranks import is_main
from embedctl.files import write_atomically
from embedctl.training.job import TrainJob
from embedctl.training.trackers import settle_wandb

METRICS_FILE = "metrics.jsonl"


def keep_until(path: Path, step: int) -> None:
    """Drop the lines of `metrics.jsonl` past a step: a resumed run writes them again."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if line and json.loads(line)["step"] <= step]
    write_atomically(path, "".join(f"{line}\n" for line in kept))


class Monitor:
    """Follows a run of `total` updates, of which `start` were done before; `accelerator` drives the tracker."""

    def __init__(self, accelerator: Any, job: TrainJob, start: int, total: int) -> None:
        self.accelerator = accelerator
        self._file = (job.folder / METRICS_FILE if is_main() else Path(os.devnull)).open("a", encoding="utf-8")
        self._bar = Bar("train", total, "steps")
        self._bar.advance(start, "")
        self._since, self._rows, self._tokens, self._paused = time.monotonic(), 0, 0, 0.0
        if job.run.log_with == "wandb":
            settle_wandb(job.folder)
        accelerator.init_trackers("embedctl", config=flat(job.settings))

    def step(self, step: int, numbers: dict[str, float], rows: int, tokens: int) -> None:
        """Record an update: rows and tokens of it, and whatever else was measured."""
        self._rows, self._tokens = self._rows + rows, self._tokens + tokens
        elapsed = max(time.monotonic() - self._since - self._paused, 1e-9)
        rates = {"rows_per_s": self._rows / elapsed, "tokens_per_s": self._tokens / elapsed}
        self._write({"step": step, **numbers, **rates})
        speed = f"{rates['rows_per_s']:,.0f} rows/s  {rates['tokens_per_s']:,.0f} tokens/s"
        self._bar.advance(1, f"loss {numbers['loss']:.4f}  lr {numbers['lr']:.1e}  {speed}")

    def evaluated(self, step: int, metrics: dict[str, float], seconds: float) -> None:
        """Record an evaluation; its time does not count in the rates."""
        self._paused += seconds
        self._write({"step": step, "eval": metrics, "eval_seconds": round(seconds, 3)})
        shown = ", ".join(f"{name} {value:.4f}" for name, value in list(metrics.items())[:3])
        console.info(f"step {step}: {shown}")

    def mined(self, step: int, epoch: int, numbers: dict[str, int], seconds: float) -> None:
        """Record that negatives were mined for an epoch (counted from 0); its time does not count in the rates."""
        self._paused += seconds
        self._write({"step": step, **{f"mined_{name}": n for name, n in numbers.items()}, "mined_seconds": seconds})
        above = numbers["above_positive"]
        perhaps = f"; {above:,} score above their positive: perhaps answers" if above else ""
        console.info(
            f"epoch {epoch + 1}: mined {numbers['negatives']:,} negatives for {numbers['rows']:,} rows "
            f"in {seconds:.1f} s{perhaps}"
        )

    def _write(self, document: dict[str, Any]) -> None:
        self._file.write(json.dumps(document) + "\n")
        self._file.flush()
        numbers = {f"eval/{name}": value for name, value in document.get("eval", {}).items()}
        numbers |= {f"train/{name}": value for name, value in document.items() if name not in ("step", "eval")}
        self.accelerator.log(numbers, step=document["step"])

    def close(self) -> None:
        """Take the bar down and close the files."""
        self._bar.close()
        self._file.close()
        for tracker in self.accelerator.trackers:  # end_training() ends the process group too: the export needs it
            tracker.finish()


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, int | float | str]:
    """Nested settings as `section.key` to number or text, which is all that every tracker takes."""
    found: dict[str, int | float | str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, int | float | str) else str(value)
    return found
