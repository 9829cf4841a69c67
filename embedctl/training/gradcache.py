"""Loss and gradient of one batch over all ranks, in chunks (GradCache: Gao et al., 2021).

Each distinct text is encoded once. The loss is computed from detached vectors, and its gradient with respect to them
is then propagated through the model. If all texts fit into one forward pass, the graph of that pass is used. Otherwise
the vectors are computed without graphs, and each chunk is encoded again for its backward pass, with the same dropout:
the random seed depends on batch, rank and chunk. The gradient is exact, and memory depends on the chunk, not the batch.

Shapes: Q queries, D distinct documents, U distinct texts, H dimensions.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from embedctl.data.batches import Batch
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS
from embedctl.distributed.random import random_bits
from embedctl.distributed.ranks import gather_vectors, rank, world_size
from embedctl.losses.base import Loss
from embedctl.tokens.packing import array_to_device, longest_first, split_by_budget
from embedctl.tokens.spans import Integers
from embedctl.training.session import Session
from embedctl.training.targets import CandidateWeights

MAX_SIMILARITIES = 1 << 25  # size of a similarity matrix: 128 MiB in float32


@dataclass(frozen=True)
class TextPartition:
    """Distribution of texts over the ranks, and of this rank's texts over chunks."""

    chunks: list[Integers]  # indices of this rank's texts; all ranks have equally many chunks, and some may be empty
    order: Integers  # (U,) index of the text of each row of the vectors that are gathered from all ranks
    counts: list[int]  # number of texts per rank


def partition_texts(lengths: Integers, budget: int, *, padded: bool, ranks: int, rank: int) -> TextPartition:
    """Sort texts by decreasing length, split them into chunks of `budget` tokens per rank, and split these by rank.

    `lengths` (U,) are numbers of tokens; `padded` counts padding as tokens; the chunks of `rank` are returned.
    """
    order = longest_first(lengths)
    joint_chunks = [order[chunk] for chunk in split_by_budget(lengths[order], budget * ranks, padded=padded)]
    chunks_of_ranks = [[chunk[number::ranks] for chunk in joint_chunks] for number in range(ranks)]
    texts_of_ranks = [np.concatenate(chunks) for chunks in chunks_of_ranks]
    counts = [len(texts) for texts in texts_of_ranks]
    return TextPartition(chunks_of_ranks[rank], np.concatenate(texts_of_ranks), counts)


@dataclass(frozen=True)
class PreparedBatch:
    """A batch with model inputs on the device; it is made on a background thread."""

    batch: Batch  # the rows of all ranks
    partition: TextPartition
    features: list[Any]  # model input of each chunk of this rank
    weights: CandidateWeights
    tokens: int  # number of tokens of the whole batch
    keep_graphs: bool = False  # whether the graphs of all chunks fit into memory, so that no chunk is encoded twice


@dataclass(frozen=True)
class GradCache:
    """Computes the loss of a batch and adds its gradient to the parameters' gradients."""

    session: Session
    losses: dict[RowKind, Loss]
    seed: int  # of dropout

    def __call__(self, prepared: PreparedBatch, number: int, *, last: bool = True, scale: float = 1.0) -> Tensor:
        """Add `scale` times the gradient of the batch's loss to the gradients, and return the loss, detached.

        `number`, unique within the run, determines dropout. After the `last` batch of a step, the gradients are
        averaged over the ranks.
        """
        single_pass = prepared.keep_graphs or len(prepared.features) == 1
        vectors = []
        for chunk in range(len(prepared.features)):
            with torch.set_grad_enabled(single_pass), contextlib.nullcontext() if last else self.session.no_sync():
                vectors.append(self._encode(prepared, number, chunk))
        leaf = torch.cat(vectors).detach().requires_grad_()
        loss = self._loss(leaf, prepared, scale)
        gradient_UH = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        gradients = torch.split(gradient_UH, [len(part) for part in vectors])
        for chunk, gradient in enumerate(gradients):
            synchronize = last and chunk == len(gradients) - 1
            with contextlib.nullcontext() if synchronize else self.session.no_sync():
                part = vectors[chunk] if single_pass else self._encode(prepared, number, chunk)
                self.session.backward((part * gradient).sum())
        return loss

    def _encode(self, prepared: PreparedBatch, number: int, chunk: int) -> Tensor:
        """Return the normalized vectors (N, H) of the N texts of a chunk; for an empty chunk, (0, H)."""
        torch.manual_seed(int(random_bits(self.seed, number, rank(), chunk)[0] >> np.uint64(1)))
        return normalize(self.session(prepared.features[chunk]), dim=-1)[: len(prepared.partition.chunks[chunk])]

    def _loss(self, leaf: Tensor, prepared: PreparedBatch, scale: float) -> Tensor:
        """Return the loss of the whole batch, and leave the gradient of this rank's vectors in `leaf.grad`."""
        batch, partition = prepared.batch, prepared.partition
        gathered = gather_vectors(leaf, partition.counts)
        row_of_text = np.empty_like(partition.order)
        row_of_text[partition.order] = np.arange(len(partition.order))
        vectors_UH = gathered[array_to_device(row_of_text, gathered.device)]
        query_QH = vectors_UH[array_to_device(batch.query_Q, gathered.device)]
        document_DH = vectors_UH[array_to_device(batch.document_D, gathered.device)]
        total = torch.zeros((), device=leaf.device, dtype=leaf.dtype)
        blocks = loss_blocks(batch, self.losses)
        for block, (loss, queries) in enumerate(blocks, 1):
            targets = prepared.weights.targets(queries, leaf.device)
            vectors = query_QH[array_to_device(queries, leaf.device)]
            part = loss(vectors, document_DH, targets) * (len(queries) / len(batch))
            torch.autograd.backward(part * (scale * world_size()), retain_graph=block < len(blocks))
            total += part.detach()
        return total


def loss_blocks(batch: Batch, losses: dict[RowKind, Loss]) -> list[tuple[Loss, Integers]]:
    """Group the batch's queries by their loss.

    Queries of a separable loss are split further, so that a similarity matrix has at most `MAX_SIMILARITIES` elements.
    """
    kinds_of_loss: dict[Loss, list[int]] = {}
    for kind in np.unique(batch.kind_Q):
        kinds_of_loss.setdefault(losses[KINDS[kind]], []).append(int(kind))
    block_size = max(1, MAX_SIMILARITIES // max(len(batch.document_D), 1))
    found: list[tuple[Loss, Integers]] = []
    for loss, kinds in kinds_of_loss.items():
        queries = np.flatnonzero(np.isin(batch.kind_Q, kinds))
        cuts = range(block_size, len(queries), block_size) if loss.separable else ()
        found += [(loss, block) for block in np.split(queries, list(cuts))]
    return found
