"""The vectors of rows and texts, and scores from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedctl import console
from embedctl.mining.cache import ArrayCache, CachedEmbedder
from embedctl.mining.job import MiningJob
from embedctl.mining.pool import MiningData, pair_scores
from embedctl.model.embedder import Embedder
from embedctl.search.exact import Ids, Vectors
from embedctl.search.vectors import passage_vectors, query_vectors


@dataclass(frozen=True)
class Encoded:
    """Rows and texts with their vectors."""

    data: MiningData  # Q rows and P texts, of which D are the corpus
    query_QH: Vectors  # vectors of the queries
    text_PH: Vectors  # vectors of the texts
    device: str  # where to search

    @property
    def corpus(self) -> Vectors:
        """The vectors of what is searched."""
        return self.text_PH[: self.data.searched]

    def scores(self, rows: Sequence[int], ids: Sequence[Ids]) -> list[Vectors]:
        """The scores of each row's query with the texts at its places in the pool."""
        return [pair_scores(self.query_QH[row], self.text_PH, own) for row, own in zip(rows, ids, strict=True)]


def encode(job: MiningJob, data: MiningData) -> Encoded:
    """The vectors of queries and passages.

    Raises:
        ModelError: the model can't be loaded.
    """
    texts, queries = data.pool.texts, data.queries
    embedder = Embedder.from_pretrained(job.model, device=job.device, trust_remote_code=job.trust_remote_code)
    cache = ArrayCache(job.cache)
    kept = CachedEmbedder(embedder, cache)
    console.say(f"encoding {len(texts):,} passages and {len(queries):,} queries with {job.model}")
    text_PH = passage_vectors(kept, texts, prompt=job.passage_prompt, show_progress=True)
    query_QH = query_vectors(kept, queries, data.prompts, prompt=job.query_prompt, show_progress=True)
    cache.prune()
    if cache.found:
        console.say(f"{cache.found:,} of the vectors were in the cache {cache.folder}")
    return Encoded(data, query_QH, text_PH, str(embedder.device))
