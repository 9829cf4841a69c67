"""Score candidates again with a reranker (cross-encoder).

It decides what is rejected, and gives the scores that are written; the order of the candidates stays the model's, whose
errors are what is being mined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embedctl.errors import ModelError
from embedctl.mining.cache import ArrayCache, digest
from embedctl.mining.candidates import Candidates, Limits, reference_scores
from embedctl.mining.data import MiningData
from embedctl.model.loading import hash_weights, loading_context
from embedctl.search.exact import Ids, Vectors
from embedctl.tokens.tokenize import tokenizer_fingerprint

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


def load_cross_encoder(path: str, device: str, *, trust_remote_code: bool = False) -> CrossEncoder:
    """A cross-encoder that gives one score a pair.

    Raises:
        ModelError: there is none, or it gives several.
    """
    import sentence_transformers

    hint = "give the folder or hub name of a cross-encoder, e.g. BAAI/bge-reranker-v2-m3"
    with loading_context(path, f"--rerank-with {path}: can't be loaded", hint):
        model: CrossEncoder = sentence_transformers.CrossEncoder(
            path, device=device, trust_remote_code=trust_remote_code
        )
    if model.num_labels != 1:
        hint = "give a cross-encoder with one label"
        raise ModelError(f"--rerank-with {path}: gives {model.num_labels} scores a pair, not one", hint)
    return model


@dataclass
class Reranker:
    """Scores pairs in batches and keeps the scores."""

    model: CrossEncoder  # the cross-encoder
    data: MiningData  # the rows and texts
    limits: Limits  # of its scores
    positive_score: str  # which of several positives margins are measured from
    cache: ArrayCache  # where scores are kept
    batch_size: int  # pairs in one pass

    def __post_init__(self) -> None:
        config: Any = self.model.config
        facts = (
            hash_weights(self.model),
            repr(self.model),
            repr(self.model.activation_fn),
            repr(sorted(config.to_dict().items(), key=lambda item: item[0])),
            tokenizer_fingerprint(self.model.tokenizer),
            str(self.model.max_seq_length),
        )
        self._recipe = digest("cross-encoder", facts)

    def rerank(self, block: Sequence[Candidates], last: int) -> None:
        """Score of each row the nearest `last` candidates that are within the limits, and apply its own limits."""
        rows = [candidates.row for candidates in block]
        positions = [candidates.allowed[:last] for candidates in block]
        positives = self.scores(rows, [self.data.measured[row] for row in rows])
        asked = [candidates.ids[own] for candidates, own in zip(block, positions, strict=True)]
        facts = zip(block, positions, self.scores(rows, asked), reference_scores(positives, self.positive_score), strict=True)
        for candidates, own, scores, reference in facts:
            candidates.reference = float(reference)
            candidates.rerank_scores[own] = scores
            candidates.limit(own, self.limits.excess(scores, candidates.reference), "rerank ")

    def complete(self, candidates: Candidates) -> None:
        """Score those that have no score yet."""
        unknown = np.isnan(candidates.rerank_scores)
        candidates.rerank_scores[unknown] = self.scores([candidates.row], [candidates.ids[unknown]])[0]

    def scores(self, rows: Sequence[int], ids: Sequence[Ids]) -> list[Vectors]:
        """The scores of each row's query with the texts at its places in the pool."""
        queries, texts = self.data.queries, self.data.pool.texts
        pairs = [(queries[row], texts[place]) for row, own in zip(rows, ids, strict=True) for place in own]
        if not pairs:
            return [np.zeros(0, np.float32) for _ in rows]
        keys = [f"{query}\0{text}" for query, text in pairs]
        scores = self.cache.fetch(self._recipe, keys, lambda: self._predict(pairs))
        return np.split(scores.ravel(), np.cumsum([len(own) for own in ids])[:-1])

    def _predict(self, pairs: list[tuple[str, str]]) -> Vectors:
        found = self.model.predict(pairs, batch_size=self.batch_size, show_progress_bar=False)
        scores = np.asarray(found, dtype=np.float32)
        if not np.isfinite(scores).all():
            raise ModelError("--rerank-with: a score is not finite", "the model is damaged, or its precision too low")
        return scores
