"""Measuring the model in training: every rank encodes its share, so that sharded models and long corpora work too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl.data.build import Recipe
from embedctl.distributed.ranks import gather_vectors, rank, world
from embedctl.errors import TrainingError
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.metrics import means, per_query
from embedctl.evaluation.names import of_dim
from embedctl.search.vectors import unit
from embedctl.tokens.packing import Ragged
from embedctl.tokens.tokenize import tokenize
from embedctl.training.session import Session
from embedctl.training.step import deal


@dataclass(frozen=True)
class Measure:
    """An evaluation that can be repeated."""

    session: Session  # what is measured
    collection: Collection  # what is searched for
    texts: Ragged  # tokens of the queries, then of the corpus
    dims: tuple[int, ...] = ()  # leading dimensions that are measured too (Matryoshka)

    @classmethod
    def of(cls, session: Session, collection: Collection, recipe: Recipe, dims: tuple[int, ...] = ()) -> Measure:
        """The measure with the prompts of training and the whole length of the model, as `embedctl eval` has them."""
        queries = collection.prompted(recipe.query_prompt)
        passages = [recipe.passage_prompt + text for text in collection.corpus.values()]
        embedder = session.embedder
        return cls(session, collection, tokenize(embedder.tokenizer, queries + passages, embedder.max_len), dims)

    def __call__(self) -> dict[str, float]:
        """The metrics now, the same on every rank. Those of leading dimensions are named `nDCG@10 dim 64`."""
        vectors = encode_shared(self.session, self.texts)
        queries = len(self.collection.queries)
        metrics = means(per_query(self.collection, vectors[:queries], vectors[queries:]))
        for dim in self.dims:
            short = unit(vectors[:, :dim])
            part = means(per_query(self.collection, short[:queries], short[queries:]))
            metrics |= {of_dim(name, dim): value for name, value in part.items()}
        return metrics


@torch.no_grad()
def encode_shared(session: Session, texts: Ragged) -> NDArray[np.float32]:
    """Normalised vectors (N, H) of texts, on every rank; each rank encodes its share. Called by all ranks."""
    embedder = session.embedder
    share = deal(texts.lengths, session.budget, padded=not embedder.packed, ranks=world(), own=rank())
    session.model.eval()
    parts = []
    for chunk in share.chunks:
        features = embedder.features(texts.take(chunk if len(chunk) else share.order[:1]))
        parts.append(torch.nn.functional.normalize(session(features)[: len(chunk)].float(), dim=-1))
    session.model.train()
    gathered = gather_vectors(torch.cat(parts), share.counts).cpu().numpy()
    vectors = np.empty_like(gathered)
    vectors[share.order] = gathered
    return vectors


@dataclass
class History:
    """The evaluations of a run, which a state keeps."""

    metric: str
    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Record an evaluation.

        Raises:
            TrainingError: it has no metric of the name by which runs are compared.
        """
        if self.metric not in metrics:
            raise TrainingError(f"--metric {self.metric}: not measured", f"use one of {', '.join(metrics)}")
        self.entries.append({"step": step, "metrics": metrics})

    @property
    def best(self) -> dict[str, Any]:
        """The first evaluation with the highest metric."""
        return max(self.entries, key=lambda entry: float(entry["metrics"][self.metric]))

    @property
    def without_better(self) -> int:
        """Evaluations since the best one."""
        return len(self.entries) - 1 - self.entries.index(self.best) if self.entries else 0
