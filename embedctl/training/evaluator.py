"""Evaluation of the model during training, and its history.

Every rank encodes a part of the texts, so this works with sharded weights and large corpora too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl.distributed.ranks import gather_vectors, rank, world_size
from embedctl.errors import TrainingError
from embedctl.evaluation.collections import Collection
from embedctl.evaluation.metrics import means, metrics_per_query
from embedctl.evaluation.names import metric_with_dim
from embedctl.tokens.packing import Ragged
from embedctl.tokens.text_settings import TextSettings
from embedctl.tokens.tokenize import tokenize
from embedctl.training.gradcache import partition_texts
from embedctl.training.session import Session


@dataclass(frozen=True)
class Evaluator:
    """Computes the metrics of the model in training."""

    session: Session
    collection: Collection
    texts: Ragged  # tokens of the queries, then of the documents
    dims: tuple[int, ...] = ()  # numbers of leading dimensions that are evaluated too (Matryoshka)

    @classmethod
    def for_collection(
        cls, session: Session, collection: Collection, text_settings: TextSettings, dims: tuple[int, ...] = ()
    ) -> Evaluator:
        """Return an evaluator with the prompts of training and the model's maximum length, as `embedctl eval` uses."""
        queries = [text_settings.query(text, collection.prompts.get(key)) for key, text in collection.queries.items()]
        documents = [text_settings.passage(text) for text in collection.corpus.values()]
        texts = tokenize(session.embedder.tokenizer, queries + documents, session.embedder.max_len)
        return cls(session, collection, texts, dims)

    def __call__(self) -> dict[str, float]:
        """Return the current metrics, the same on every rank; for leading dimensions, as in `nDCG@10 dim 64`."""
        vectors = encode_distributed(self.session, self.texts)
        metrics = self._metrics(vectors, self.session.embedder.encoded_dimension(None))
        for dim in self.dims:
            metrics |= {metric_with_dim(name, dim): value for name, value in self._metrics(vectors, dim).items()}
        return metrics

    def _metrics(self, vectors: NDArray[np.float32], dim: int) -> dict[str, float]:
        """Return the metrics of the `dim` leading dimensions of the vectors, which are prepared here."""
        queries, similarity = len(self.collection.queries), self.session.embedder.similarity
        query_QH, corpus_DH = np.split(similarity.prepare(vectors[:, :dim]), [queries])
        return means(metrics_per_query(self.collection, query_QH, corpus_DH, similarity=similarity))


@torch.no_grad()
def encode_distributed(session: Session, texts: Ragged) -> NDArray[np.float32]:
    """Return the vectors (N, H) of N texts on every rank, not yet prepared for the model's similarity function.

    Each rank encodes a part. Called by all ranks.
    """
    embedder, padded = session.embedder, not session.embedder.packed
    partition = partition_texts(texts.lengths, session.budget, padded=padded, ranks=world_size(), rank=rank())
    session.model.eval()
    parts = []
    for chunk in partition.chunks:
        features = embedder.features(texts.take(chunk if len(chunk) else partition.order[:1]))
        parts.append(session(features)[: len(chunk)].float())
    session.model.train()
    gathered = gather_vectors(torch.cat(parts), partition.counts).cpu().numpy()
    vectors = np.empty_like(gathered)
    vectors[partition.order] = gathered
    return vectors


@dataclass
class EvaluationHistory:
    """The evaluations of a run; they are stored in checkpoints."""

    metric: str  # the metric by which models are compared
    entries: list[dict[str, Any]] = field(default_factory=list)  # step and metrics of each evaluation

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Add an evaluation, or raise a TrainingError if it lacks the metric by which models are compared."""
        if self.metric not in metrics:
            message = f"--metric {self.metric}: this metric is not computed"
            raise TrainingError(message, f"use one of {', '.join(metrics)}")
        self.entries.append({"step": step, "metrics": metrics})

    @property
    def best(self) -> dict[str, Any]:
        """The evaluation with the highest metric; the earliest one if several are equal."""
        return max(self.entries, key=lambda entry: float(entry["metrics"][self.metric]))

    @property
    def evaluations_since_best(self) -> int:
        """Number of evaluations since the best one."""
        return len(self.entries) - 1 - self.entries.index(self.best) if self.entries else 0
