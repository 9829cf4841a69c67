"""Checkpoints, from which `--resume` continues: model, optimizer and the progress of the run.

A checkpoint is written to a temporary folder, synced to the disk and renamed, and contains the hashes of its files; so
an incomplete or damaged one is detected. Data order, dropout and learning rate depend on the step only, so no state of
random generators is stored. A checkpoint can be loaded by any number of processes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors

from embedctl import console
from embedctl.distributed.ranks import barrier, broadcast, is_main
from embedctl.errors import ConfigError
from embedctl.files import atomic_folder, read_json
from embedctl.run_folder import CHECKPOINTS, RunFolder
from embedctl.training.resuming import PROGRESS_FILE
from embedctl.write_errors import writing

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class Progress:
    """Progress of a run. The fields are keys of position.json, where `world_size` is called `world`."""

    step: int  # number of optimizer steps done
    batch_size: int  # queries per batch over all ranks
    budget: int  # token budget of a forward pass
    evaluations: list[dict[str, Any]]  # step and metrics of each evaluation
    world_size: int  # number of processes
    settings: dict[str, Any] = field(default_factory=dict)  # see `fixed_settings`; empty in those of earlier versions


def save(run: Path, progress: Progress, tensors: dict[str, Any], keep: int) -> None:
    """Write a checkpoint with a (nested) state dict, and remove all but the newest `keep`. Called by all ranks.

    Raises:
        OutputError: the checkpoint cannot be written; the earlier ones stay.
    """
    folder = run / CHECKPOINTS / f"step-{progress.step:08d}"
    if is_main():
        RunFolder(run).add([f"{CHECKPOINTS}/{folder.name}"])
    with atomic_folder(folder, sync=True) if is_main() else nullcontext(folder) as own_name:
        temporary = broadcast(own_name)
        with _ignore_single_process_warning(), writing(folder):
            try:
                save_tensors(tensors, checkpoint_id=str(temporary / "tensors"))
            except CheckpointException as failed:  # also if another rank failed
                raise next(iter(failed.failures.values()))[0] from failed
        barrier()
        if is_main():
            values = asdict(progress)
            values["world"] = values.pop("world_size")
            (temporary / PROGRESS_FILE).write_text(json.dumps(values))
            files = sorted(path for path in temporary.rglob("*") if path.is_file())
            hashes = {str(path.relative_to(temporary)): _hash(path) for path in files}
            (temporary / MANIFEST_FILE).write_text(json.dumps(hashes))
    if is_main():
        for old in RunFolder(run).checkpoints[keep:]:
            shutil.rmtree(old)
    barrier()


def find(resume: str, run: Path) -> Path | None:
    """Return the checkpoint that `--resume` refers to; None if the run has no complete checkpoint.

    `resume` is a checkpoint, or the folder of a run or "latest" (this run): the newest complete checkpoint of it.

    Raises:
        ConfigError: `resume` does not exist, or contains no complete checkpoint and is not this run.
    """
    folder = run if resume == "latest" else Path(resume)
    if not folder.is_dir():
        message = f"--resume {resume}: no such folder"
        raise ConfigError(message, "use the folder of a run, or one of its checkpoints, RUN/states/step-N")
    candidates = [folder] if (folder / MANIFEST_FILE).exists() else RunFolder(folder).checkpoints
    for checkpoint in candidates:
        damage = find_damage(checkpoint)
        if damage is None:
            return checkpoint
        if is_main():
            console.warn(f"{checkpoint}: {damage}; this checkpoint is skipped")
    if folder.resolve() == run.resolve():
        console.info(f"{run} contains no complete checkpoint; training starts at step 0")
    elif resume != "latest":
        raise ConfigError(f"--resume {resume}: no complete checkpoint found", "omit --resume to start a new run")
    return None


def find_damage(checkpoint: Path) -> str | None:
    """Return a description of what is wrong with a checkpoint, None if it is complete and undamaged."""
    expected = read_json(checkpoint / MANIFEST_FILE)
    if expected is None:
        return f"{MANIFEST_FILE} cannot be read"
    if not isinstance(expected, dict) or PROGRESS_FILE not in expected:
        return f"{MANIFEST_FILE} is damaged"
    for name, digest in expected.items():
        try:
            damaged = _hash(checkpoint / name) != digest
        except OSError as cause:
            return f"{name} is missing" if isinstance(cause, FileNotFoundError) else f"{name} cannot be read"
        if damaged:
            return f"{name} is damaged"
    return None


def load(checkpoint: Path, tensors: dict[str, Any]) -> Progress:
    """Load a checkpoint into `tensors`, in place, and return its progress. Called by all ranks."""
    with _ignore_single_process_warning():
        load_tensors(tensors, checkpoint_id=str(checkpoint / "tensors"))
    values = json.loads((checkpoint / PROGRESS_FILE).read_text())
    return Progress(world_size=values.pop("world"), **values)


@contextmanager
def _ignore_single_process_warning() -> Iterator[None]:
    """Suppress torch's warning that torch.distributed is not used, which is intended with one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:32]
