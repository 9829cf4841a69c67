"""States to resume from: model, optimizer and position, whole or not there at all.

A state is written to a temporary folder, synced to the disk and renamed, with a manifest of hashes. Data order, dropout
and learning rate are functions of the step, so the position is one number. A state can be read by any number of
processes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors

from embedctl import console
from embedctl.distributed.ranks import barrier, is_main
from embedctl.errors import ConfigError
from embedctl.files import atomic_folder, temporary_for

MANIFEST, POSITION = "manifest.json", "position.json"


def states_folder(run: Path) -> Path:
    """Where a run keeps its states."""
    return run / "states"


@dataclass(frozen=True)
class Position:
    """Where a run stands, beside its tensors."""

    step: int  # optimizer steps done
    batch_size: int  # queries per batch over all ranks
    budget: int  # tokens in one pass through the model
    evaluations: list[dict[str, Any]]  # step and metrics of each evaluation so far
    world: int  # the number of ranks


def save(run: Path, position: Position, tensors: dict[str, Any], keep: int) -> None:
    """Write a state, its `tensors` as a (nested) state dict; the oldest beyond `keep` go. Called by all ranks."""
    state = states_folder(run) / f"step-{position.step:08d}"
    with atomic_folder(state, sync=True) if is_main() else nullcontext(temporary_for(state)) as work:
        barrier()
        with _alone_without_a_word():
            save_tensors(tensors, checkpoint_id=str(work / "tensors"), no_dist=not torch.distributed.is_initialized())
        barrier()
        if is_main():
            (work / POSITION).write_text(json.dumps(asdict(position)))
            (work / MANIFEST).write_text(json.dumps(_hashes(work)))
    if is_main():
        for old in list_states(run)[keep:]:
            shutil.rmtree(old)
    barrier()


def list_states(run: Path) -> list[Path]:
    """The states of a run, newest first."""
    return sorted(states_folder(run).glob("step-*"), reverse=True)


def find(wanted: str, run: Path) -> Path | None:
    """The state that `--resume` means: the newest whole one, of the run or of a folder, or the one named.

    None for a run that was killed before its first state.

    Raises:
        ConfigError: the folder named holds no whole state and is not the run's.
    """
    folder = run if wanted == "latest" else Path(wanted)
    if not folder.is_dir():
        raise ConfigError(f"--resume {wanted}: no such folder", "give the run's folder, or one of its states")
    candidates = [folder] if (folder / MANIFEST).exists() else list_states(folder)
    for state in candidates:
        fault = damage(state)
        if fault is None:
            return state
        if is_main():
            console.warn(f"{state}: {fault}; it is skipped")
    if folder.resolve() == run.resolve():
        console.info(f"{run}: holds no whole state yet; the run begins at step 0")
    elif wanted != "latest":
        raise ConfigError(f"--resume {wanted}: holds no whole state", "leave --resume out to begin anew")
    return None


def damage(state: Path) -> str | None:
    """What is wrong with a state, None if it is whole."""
    try:
        expected = json.loads((state / MANIFEST).read_text())
    except (OSError, ValueError):
        return "has no readable manifest"
    for name, digest in expected.items():
        if not (state / name).exists():
            return f"{name} is missing"
        if _hash(state / name) != digest:
            return f"{name} is damaged"
    return None


def load(state: Path, tensors: dict[str, Any]) -> Position:
    """Fill `tensors` in place from a state and return its position. Called by all ranks."""
    with _alone_without_a_word():
        load_tensors(tensors, checkpoint_id=str(state / "tensors"), no_dist=not torch.distributed.is_initialized())
    return Position(**json.loads((state / POSITION).read_text()))


@contextmanager
def _alone_without_a_word() -> Iterator[None]:
    """A run of one process is no accident that torch has to warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): _hash(path) for path in files}


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:32]
