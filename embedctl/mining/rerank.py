"""Scores of candidates by a reranker (cross-encoder).

Limits on these scores reject candidates, and the scores are written with `--scores`. The order of the candidates
remains that of the embedding model, because the passages that it ranks too high are the negatives to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedctl.errors import ModelError
from embedctl.mining.cache import ArrayCache, digest
from embedctl.mining.candidates import Candidates, Limits, reference_scores
from embedctl.mining.data import MiningData
from embedctl.model.completeness import check_model
from embedctl.model.loading import hash_weights, loading_context
from embedctl.remote import hub
from embedctl.search.exact import Ids, Vectors
from embedctl.tokens.tokenize import tokenizer_fingerprint

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


def load_cross_encoder(path: str, device: str, *, trust_remote_code: bool = False) -> CrossEncoder:
    """Load a cross-encoder that returns one score per pair.

    Raises:
        ModelError: it cannot be loaded, or it returns several scores per pair.
    """
    import sentence_transformers

    hint = "give the folder or Hugging Face Hub name of a cross-encoder such as BAAI/bge-reranker-v2-m3"
    if Path(path).is_dir() and not Path(path, "config.json").exists():
        raise ModelError(f"--rerank-with {path}: the folder contains no model (no config.json)", hint)
    with loading_context(path, f"--rerank-with {path}: cannot be loaded", hint):
        check_model(hub.full_name(path, hub.RERANKER_OWNER), trust_remote_code=trust_remote_code)
        model: CrossEncoder = sentence_transformers.CrossEncoder(
            path, device=device, trust_remote_code=trust_remote_code, model_kwargs={"use_safetensors": True}
        )
    if model.num_labels != 1:
        message = f"--rerank-with {path}: this model returns {model.num_labels} scores per pair instead of one"
        raise ModelError(message, "give a cross-encoder with num_labels=1, such as BAAI/bge-reranker-v2-m3")
    return model


@dataclass
class Reranker:
    """A cross-encoder with limits on its scores and a cache of its scores."""

    model: CrossEncoder
    data: MiningData
    limits: Limits
    positive_score: str  # how reference scores are computed from several positives: see `reference_scores`
    cache: ArrayCache
    batch_size: int  # pairs per forward pass

    def __post_init__(self) -> None:
        config: Any = self.model.config
        parts = (
            hash_weights(self.model),
            repr(self.model),
            repr(self.model.activation_fn),
            repr(sorted(config.to_dict().items())),
            tokenizer_fingerprint(self.model.tokenizer),
            str(self.model.max_seq_length),
        )
        self._fingerprint = digest("cross-encoder", parts)

    def rerank(self, block: Sequence[Candidates], depth: int) -> None:
        """Score the first `depth` allowed candidates of each row and apply the reranker's limits to them.

        The reference scores of the rows become those of the reranker.
        """
        rows = [candidates.row for candidates in block]
        positions = [candidates.allowed[:depth] for candidates in block]
        positive_scores = self.scores(rows, [self.data.reference_positives[row] for row in rows])
        references = reference_scores(positive_scores, self.positive_score)
        ids = [candidates.ids[allowed] for candidates, allowed in zip(block, positions, strict=True)]
        results = zip(block, positions, self.scores(rows, ids), references, strict=True)
        for candidates, allowed, scores, reference in results:
            candidates.reference = float(reference)
            candidates.rerank_scores[allowed] = scores
            candidates.apply_limits(allowed, self.limits.violations(scores, candidates.reference), "rerank ")

    def score_missing(self, candidates: Candidates) -> None:
        """Score the candidates that have no reranker score."""
        missing = np.isnan(candidates.rerank_scores)
        candidates.rerank_scores[missing] = self.scores([candidates.row], [candidates.ids[missing]])[0]

    def scores(self, rows: Sequence[int], ids: Sequence[Ids]) -> list[Vectors]:
        """Return the scores of each row's query with the texts `ids` of that row. See `Scorer`."""
        queries, texts = self.data.queries, self.data.distinct.texts
        pairs = [(queries[row], texts[index]) for row, row_ids in zip(rows, ids, strict=True) for index in row_ids]
        if not pairs:
            return [np.zeros(0, np.float32) for _ in rows]
        keys = [f"{query}\0{text}" for query, text in pairs]
        scores = self.cache.get_or_compute(self._fingerprint, keys, lambda: self._predict(pairs))
        return np.split(scores.ravel(), np.cumsum([len(row_ids) for row_ids in ids])[:-1])

    def _predict(self, pairs: list[tuple[str, str]]) -> Vectors:
        """Return the scores of pairs of query and text.

        Raises:
            ModelError: a score is NaN or infinite.
        """
        predicted = self.model.predict(pairs, batch_size=self.batch_size, show_progress_bar=False)
        scores = np.asarray(predicted, dtype=np.float32)
        if not np.isfinite(scores).all():
            hint = "use another cross-encoder: the weights of this one are damaged, or its data type overflows"
            raise ModelError("--rerank-with: the cross-encoder returned a score that is NaN or infinite", hint)
        return scores
