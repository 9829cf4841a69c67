"""One batch: encode each distinct text once, over all ranks, and leave its exact gradient on the parameters.

The loss is computed on vectors cut off from the model; its gradient is then sent through the model. If the texts fit
one forward, that forward's graph is used; if not, each chunk runs again (GradCache: Gao et al., 2021), with the random
state of its first run, which is a function of step, rank and chunk. So memory follows the chunk, not the batch.
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
from embedctl.training.targets import Weights

LOSS_CELLS = 1 << 25  # similarities held at a time: 128 MiB of float32


@dataclass(frozen=True)
class Share:
    """Who encodes what: chunks of the batch's texts, cut for all ranks and dealt out."""

    chunks: list[Integers]  # this rank's chunks, as places in `Batch.texts`; every rank has as many, some may be empty
    order: Integers  # (U,) the place of each row of the gathered vectors in `Batch.texts`
    counts: list[int]  # texts of each rank


def deal(lengths: Integers, budget: int, *, padded: bool, ranks: int, own: int) -> Share:
    """Cut texts of these lengths into chunks of `budget` tokens a rank and deal them out, longest first."""
    order = longest_first(lengths)
    pieces = [order[chunk] for chunk in split_by_budget(lengths[order], budget * ranks, padded=padded)]
    dealt = [[piece[place::ranks] for piece in pieces] for place in range(ranks)]
    by_rank = [np.concatenate(chunks) for chunks in dealt]
    return Share(dealt[own], np.concatenate(by_rank), [len(texts) for texts in by_rank])


@dataclass(frozen=True)
class Prepared:
    """A batch ready for the device: made off the training thread."""

    batch: Batch  # the rows, of all ranks
    share: Share  # which of its texts this rank encodes
    features: list[Any]  # the model's input for each chunk of the share
    weights: Weights  # of the candidates
    tokens: int  # of the whole batch
    keep: bool = False  # whether the graphs of all chunks fit into memory, so that none runs twice


@dataclass(frozen=True)
class Stepper:
    """The step of a run."""

    session: Session  # what is trained: it maps features to vectors and takes gradients back
    losses: dict[RowKind, Loss]  # the loss of each kind of row
    seed: int  # of dropout

    def __call__(self, prepared: Prepared, step: int, *, last: bool = True, scale: float = 1.0) -> Tensor:
        """Add the gradient of `scale` times the batch's loss to the parameters.

        Args:
            prepared: the batch.
            step: a number that no other batch of the run has; dropout follows from it.
            last: whether gradients are averaged over the ranks now.
            scale: of the gradient, for accumulation.

        Returns:
            The loss, a detached scalar.
        """
        direct = prepared.keep or len(prepared.features) == 1
        vectors = []
        for place, features in enumerate(prepared.features):
            with torch.set_grad_enabled(direct), contextlib.nullcontext() if last else self.session.no_sync():
                vectors.append(self._encode(features, step, place, len(prepared.share.chunks[place])))
        leaf = torch.cat(vectors).detach().requires_grad_()
        loss = self._loss(leaf, prepared, scale)
        gradient_UH = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        gradients = torch.split(gradient_UH, [len(part) for part in vectors])
        for place, (features, gradient) in enumerate(zip(prepared.features, gradients, strict=True)):
            final = last and place == len(gradients) - 1
            with contextlib.nullcontext() if final else self.session.no_sync():
                texts = len(prepared.share.chunks[place])
                part = vectors[place] if direct else self._encode(features, step, place, texts)
                self.session.backward((part * gradient).sum())
        return loss

    def _encode(self, features: Any, step: int, place: int, texts: int) -> Tensor:
        """Normalised vectors of a chunk's texts; the one text that stands in for none is dropped."""
        torch.manual_seed(int(random_bits(self.seed, step, rank(), place)[0] >> np.uint64(1)))
        return normalize(self.session(features), dim=-1)[:texts]

    def _loss(self, leaf: Tensor, prepared: Prepared, scale: float) -> Tensor:
        """The loss of the whole batch on every rank; its gradient goes to this rank's vectors."""
        batch, share = prepared.batch, prepared.share
        gathered = gather_vectors(leaf, share.counts)
        place = np.empty_like(share.order)
        place[share.order] = np.arange(len(share.order))
        vectors_UH = gathered[array_to_device(place, gathered.device)]
        query_QH = vectors_UH[array_to_device(batch.query_Q, gathered.device)]
        document_DH = vectors_UH[array_to_device(batch.document_D, gathered.device)]
        total = torch.zeros((), device=leaf.device, dtype=leaf.dtype)
        parts = blocks(batch, self.losses)
        for number, (loss, queries) in enumerate(parts, 1):
            targets = prepared.weights.targets(queries, leaf.device)
            part = loss(query_QH[array_to_device(queries, leaf.device)], document_DH, targets) * (len(queries) / len(batch))
            torch.autograd.backward(part * (scale * world_size()), retain_graph=number < len(parts))
            total += part.detach()
        return total


def blocks(batch: Batch, losses: dict[RowKind, Loss]) -> list[tuple[Loss, Integers]]:
    """The batch's queries by the loss of their kind; a mean over queries is cut so that its similarities stay small."""
    by_loss: dict[Loss, list[int]] = {}
    for number in np.unique(batch.kind_Q):
        by_loss.setdefault(losses[KINDS[number]], []).append(int(number))
    rows = max(1, LOSS_CELLS // max(len(batch.document_D), 1))
    found: list[tuple[Loss, Integers]] = []
    for loss, kinds in by_loss.items():
        queries = np.flatnonzero(np.isin(batch.kind_Q, kinds))
        cuts = range(rows, len(queries), rows) if loss.separable else ()
        found += [(loss, block) for block in np.split(queries, list(cuts))]
    return found
