"""Negatives mined anew with the model as it is, at the start of every epoch but the first (ANCE: Xiong et al., 2021).

The ranks share the encoding and the search. What an epoch got is kept beside the states, so that a resumed run trains
on the same; what was mined after the state that it goes on from is forgotten.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from embedctl import console
from embedctl.config import RemineSection
from embedctl.config.base import parse_range
from embedctl.data.batches import BatchPlan
from embedctl.data.store import TextStore
from embedctl.distributed.random import random_bits
from embedctl.distributed.ranks import barrier, gather_vectors, is_main, rank, world_size
from embedctl.files import atomic_file
from embedctl.mining.candidates import Limits, Selection
from embedctl.mining.store_miner import StoreMiner
from embedctl.search.exact import Ids, Vectors
from embedctl.tokens.packing import longest_first
from embedctl.tokens.spans import Integers
from embedctl.training.checkpoint import states_folder
from embedctl.training.feeder import Schedule
from embedctl.training.measure import encode_shared
from embedctl.training.monitor import Monitor
from embedctl.training.session import Session

TEXTS_AT_A_TIME = 1 << 15  # bounds what of them is on the device


def kept_file(run: Path, epoch: int) -> Path:
    """Where the negatives of an epoch are."""
    return states_folder(run) / f"negatives-{epoch:04d}.npy"


def forget_later(run: Path, schedule: Schedule, start: int) -> None:
    """Remove negatives that were mined after update `start`: a resumed run may come by another way."""
    for path in states_folder(run).glob("negatives-*.npy"):
        if int(path.stem.removeprefix("negatives-")) * schedule.updates_per_epoch > start:
            path.unlink()


@dataclass(frozen=True)
class Remine:
    """Gives each epoch its batches."""

    session: Session  # whose model mines
    texts: TextStore  # tokens of the store
    miner: StoreMiner  # finds the negatives
    plan: BatchPlan  # the batches with the rows' own negatives
    schedule: Schedule  # of the run
    options: RemineSection  # which ranks are taken, and how far below the positive
    monitor: Monitor  # is told
    run: Path  # OUT

    def __call__(self, epoch: int, update: int) -> BatchPlan:
        """The batches of an epoch that goes on, or begins, at an update. Called by all ranks."""
        if epoch == 0:
            return self.plan
        path = kept_file(self.run, epoch)
        if path.exists():
            mined = np.load(path)
        else:
            if update > epoch * self.schedule.updates_per_epoch and is_main():
                console.warn(f"{path}: is missing; the rest of epoch {epoch + 1} gets what the model finds now")
            mined = self._mine(epoch, update)
            if is_main():
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_file(path, "wb", sync=True) as stream:
                    np.save(stream, mined)
        barrier()
        return BatchPlan(self.plan.rows.with_negatives(mined, self.miner.query_R), self.plan.settings)

    def _mine(self, epoch: int, update: int) -> Ids:
        """The negatives (Q, N) of every query, the same on all ranks."""
        begun, queries = time.monotonic(), len(self.miner.query_Q)
        vectors = self._vectors(self.miner.query_Q), self._vectors(self.miner.passage_P)
        borders = [queries * place // world_size() for place in range(world_size() + 1)]
        part = range(borders[rank()], borders[rank() + 1])
        first, last = parse_range(self.options.remine_range)
        seed = int(random_bits(self.plan.settings.seed, epoch, 7)[0])
        choice = Selection(first, last, self.plan.settings.neg_nums, "random", seed)
        device = self.session.device
        found = self.miner.mine(part, vectors, choice, Limits(margin=self.options.remine_margin), str(device))
        counts = np.diff(borders).tolist()
        mined, above = (gather_vectors(torch.from_numpy(own).to(device), counts).cpu().numpy() for own in found)
        row_has = np.append((mined >= 0).sum(axis=1), 0)[self.miner.query_R]
        numbers = {
            "negatives": int(row_has.sum()),
            "rows": int((row_has > 0).sum()),
            "above_positive": int((above > 0).sum()),
        }
        self.monitor.mined(update, epoch, numbers, time.monotonic() - begun)
        return mined

    def _vectors(self, ids: Integers) -> Vectors:
        """Vectors (N, H) of the texts `ids`, on every rank."""
        vectors = np.empty((len(ids), self.session.embedder.dimension), dtype=np.float32)
        order = longest_first(np.asarray(self.texts.lengths[ids]))
        for start in range(0, len(ids), TEXTS_AT_A_TIME):
            places = order[start : start + TEXTS_AT_A_TIME]
            vectors[places] = encode_shared(self.session, self.texts.tokens_of(ids[places]))
        return vectors
