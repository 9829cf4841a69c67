"""Mining of negatives with the current model at the start of every epoch but the first (ANCE: Xiong et al., 2021).

The ranks share the encoding and the search. The negatives of an epoch are saved beside the checkpoints, so that a
resumed run uses the same ones; those that were mined after the checkpoint are removed.
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
from embedctl.run_folder import CHECKPOINTS, RunFolder
from embedctl.search.exact import Ids, Vectors
from embedctl.tokens.packing import longest_first
from embedctl.tokens.spans import Integers
from embedctl.training.batch_loader import Schedule
from embedctl.training.evaluator import encode_distributed
from embedctl.training.monitor import Monitor
from embedctl.training.session import Session

TEXTS_PER_BLOCK = 1 << 15  # limits the device memory that vectors need during encoding


def negatives_file(run: Path, epoch: int) -> Path:
    """Return the path of the file with the negatives that were mined for an epoch."""
    return run / CHECKPOINTS / f"negatives-{epoch:04d}.npy"


def remove_negatives_after(run: Path, schedule: Schedule, start: int) -> None:
    """Remove negatives that were mined after step `start`: the model of a resumed run may differ from then on."""
    for path in (run / CHECKPOINTS).glob("negatives-*.npy"):
        if int(path.stem.removeprefix("negatives-")) * schedule.steps_per_epoch > start:
            path.unlink()


@dataclass(frozen=True)
class EpochMiner:
    """Mines the negatives of each epoch; a call returns the batch plan of an epoch."""

    session: Session
    texts: TextStore
    miner: StoreMiner
    plan: BatchPlan  # with the rows' own negatives
    schedule: Schedule
    options: RemineSection
    monitor: Monitor
    run: Path  # output folder of the run

    def __call__(self, epoch: int, step: int) -> BatchPlan:
        """Return the batch plan of an epoch; `step` is its first step in this process. Called by all ranks."""
        if epoch == 0:
            return self.plan
        path = negatives_file(self.run, epoch)
        if path.exists():
            mined = np.load(path)
        else:
            if step > epoch * self.schedule.steps_per_epoch and is_main():
                message = f"the rest of epoch {epoch + 1} uses negatives mined with the current model"
                console.warn(f"{path} is missing: {message}, so the result can differ from an uninterrupted run")
            mined = self._mine(epoch, step)
            if is_main():
                RunFolder(self.run).add([str(path.relative_to(self.run))])
                with atomic_file(path, "wb", sync=True) as stream:
                    np.save(stream, mined)
        barrier()
        return BatchPlan(self.plan.rows.with_negatives(mined, self.miner.query_index_R), self.plan.settings)

    def _mine(self, epoch: int, step: int) -> Ids:
        """Return the negatives (Q, N) of all queries, the same on all ranks."""
        start, queries = time.monotonic(), len(self.miner.query_id_Q)
        vectors = self._vectors(self.miner.query_id_Q), self._vectors(self.miner.passage_id_P)
        bounds = [queries * index // world_size() for index in range(world_size() + 1)]
        own_queries = range(bounds[rank()], bounds[rank() + 1])
        first, last = parse_range(self.options.remine_range)
        seed = int(random_bits(self.plan.settings.seed, epoch, 7)[0])
        selection = Selection(first, last, self.plan.settings.neg_nums, "random", seed)
        limits, device = Limits(margin=self.options.remine_margin), self.session.runtime.device
        similarity = self.session.embedder.similarity
        results = self.miner.mine(own_queries, vectors, selection, limits, str(device), similarity)
        counts = np.diff(bounds).tolist()
        mined, above = (gather_vectors(torch.from_numpy(own).to(device), counts).cpu().numpy() for own in results)
        negatives_R = np.append((mined >= 0).sum(axis=1), 0)[self.miner.query_index_R]
        numbers = {
            "negatives": int(negatives_R.sum()),
            "rows": int((negatives_R > 0).sum()),
            "above_positive": int((above > 0).sum()),
        }
        self.monitor.record_mining(step, epoch, numbers, time.monotonic() - start)
        return mined

    def _vectors(self, ids: Integers) -> Vectors:
        """Return the vectors (N, H) of N texts on every rank, prepared for the model's similarity function."""
        vectors = np.empty((len(ids), self.session.embedder.dimension), dtype=np.float32)
        order = longest_first(np.asarray(self.texts.lengths[ids]))
        for start in range(0, len(ids), TEXTS_PER_BLOCK):
            block = order[start : start + TEXTS_PER_BLOCK]
            vectors[block] = encode_distributed(self.session, self.texts.tokens_of(ids[block]))
        return self.session.embedder.similarity.prepare(vectors)
