"""A cross-encoder as judge of what search found: it reads query and text together, so it is slower and surer.

It decides what is rejected, and gives the scores that are written; the order of the candidates stays the model's, whose
errors are what is being mined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embedctl.errors import ModelError
from embedctl.mining.cache import ArrayCache, digest, tokenizer_settings
from embedctl.mining.filters import Limits, references
from embedctl.mining.pool import Pool, Rows
from embedctl.model.loading import hash_weights, quiet_transformers
from embedctl.remote import hub
from embedctl.search.exact import Ids, Vectors

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


def load_cross_encoder(path: str, device: str, *, trust_remote_code: bool = False) -> CrossEncoder:
    """A cross-encoder that gives one score a pair.

    Raises:
        ModelError: there is none, or it gives several.
    """
    import sentence_transformers

    quiet_transformers()
    hub.settle(path)
    try:
        model: CrossEncoder = sentence_transformers.CrossEncoder(
            path, device=device, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as cause:
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0][:300]
        hint = "give the folder or hub name of a cross-encoder, e.g. BAAI/bge-reranker-v2-m3"
        raise ModelError(f"--rerank-with {path}: can't be loaded: {reason}", hint) from cause
    if model.num_labels != 1:
        hint = "give a cross-encoder with one label"
        raise ModelError(f"--rerank-with {path}: gives {model.num_labels} scores a pair, not one", hint)
    return model


@dataclass
class CrossJudge:
    """Scores pairs in batches and keeps the scores.

    Args:
        model: the cross-encoder.
        rows: the rows, for queries and answers.
        pool: the texts.
        limits: what its scores must keep to.
        how: which of several positives margins are measured from.
        cache: where scores are kept.
        batch_size: pairs in one pass.
    """

    model: CrossEncoder
    rows: Rows
    pool: Pool
    limits: Limits
    how: str
    cache: ArrayCache
    batch_size: int

    def __post_init__(self) -> None:
        config: Any = self.model.config
        facts = (
            hash_weights(self.model),
            repr(self.model),
            repr(self.model.activation_fn),
            repr(sorted(config.to_dict().items(), key=lambda item: item[0])),
            tokenizer_settings(self.model.tokenizer),
            str(self.model.max_seq_length),
        )
        self._recipe = digest("cross-encoder", facts)

    def scores(self, rows: Sequence[int], ids: Sequence[Ids]) -> list[Vectors]:
        """The score of each row's texts."""
        pairs = [
            (self.rows.queries[row], self.pool.texts[place])
            for row, own in zip(rows, ids, strict=True)
            for place in own
        ]
        flat = self._score(pairs)
        return np.split(flat, np.cumsum([len(own) for own in ids])[:-1])

    def references(self, rows: Sequence[int]) -> Vectors:
        """The score of each row's positive."""
        positives = [self.pool.places(self.rows.answers.best_of(self.rows.queries[row])) for row in rows]
        return references(self.scores(rows, positives), self.how)

    def _score(self, pairs: list[tuple[str, str]]) -> Vectors:
        """The scores (N,) of pairs."""
        if not pairs:
            return np.zeros(0, np.float32)
        texts = [f"{query}\0{text}" for query, text in pairs]
        return self.cache.fetch(self._recipe, texts, lambda: self._predict(pairs)).ravel()

    def _predict(self, pairs: list[tuple[str, str]]) -> Vectors:
        found = self.model.predict(pairs, batch_size=self.batch_size, show_progress_bar=False)
        scores = np.asarray(found, dtype=np.float32)
        if not np.isfinite(scores).all():
            raise ModelError("--rerank-with: a score is not finite", "the model is damaged, or its precision too low")
        return scores
