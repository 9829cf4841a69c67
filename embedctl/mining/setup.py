"""What `mine-negatives` works with: rows, texts and vectors brought together, and how it finds, filters and judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedctl import console
from embedctl.config import MineConfig
from embedctl.mining.cache import ArrayCache, CachedEmbedder
from embedctl.mining.candidates import Choice
from embedctl.mining.fill import FromTheCorpus, relaxing
from embedctl.mining.filters import (
    Filter,
    Limits,
    hashes,
    no_answer,
    no_near_duplicate,
    normalised,
    not_among,
    not_the_query,
    references,
)
from embedctl.mining.miner import Judge, Miner
from embedctl.mining.pool import Pool, Rows, pair_scores
from embedctl.mining.rerank import CrossJudge, load_cross_encoder
from embedctl.model.embedder import Embedder
from embedctl.resources import cache_folder
from embedctl.search.bm25 import Lexical, mixed
from embedctl.search.exact import Ids, Vectors
from embedctl.search.finder import Finder, approximate, exact
from embedctl.search.vectors import passage_vectors, query_vectors


def filters_of(rows: Rows, pool: Pool) -> dict[str, Filter]:
    """What is never taken as a negative, by name."""
    exact_P, normal_P = hashes(pool.texts), hashes(map(normalised, pool.texts))
    positives = [pool.places(map(int, rows.answers.of(query))) for query in rows.queries]
    filters = {
        "answers": no_answer(rows.queries, exact_P, rows.answers),
        "near-duplicates of answers": no_near_duplicate(positives, normal_P),
        "the query itself": not_the_query(hashes(map(normalised, rows.queries)), normal_P),
    }
    if rows.keep_negatives:
        filters["own negatives"] = not_among([pool.places(own) for own in rows.own])
    return filters


@dataclass(frozen=True)
class Vectorised:
    """Rows and texts with their vectors.

    Args:
        rows: Q rows.
        pool: P texts.
        query_QH: vectors of the queries.
        pool_PH: vectors of the texts.
        device: where to search.
    """

    rows: Rows
    pool: Pool
    query_QH: Vectors
    pool_PH: Vectors
    device: str

    @property
    def corpus(self) -> Vectors:
        """The vectors (D, H) of what is searched."""
        return self.pool_PH[: self.pool.searched]

    def finder(self) -> Finder:
        """Exact search."""
        return exact(self.query_QH, self.corpus, self.device)

    def scores(self, rows: Sequence[int], ids: Sequence[Ids]) -> list[Vectors]:
        """The scores of each row's query with the texts at its places in the pool."""
        return [pair_scores(self.query_QH[row], self.pool_PH, own) for row, own in zip(rows, ids, strict=True)]

    def references(self, how: str) -> Vectors:
        """The score (Q,) that margins are measured from: see `filters.references`."""
        answers = self.rows.answers
        positives = [self.pool.places(answers.best_of(query)) for query in self.rows.queries]
        return references(self.scores(range(len(positives)), positives), how)


def vectorise(config: MineConfig, checkpoint: str, rows: Rows, pool: Pool) -> Vectorised:
    """The vectors of queries and passages.

    Raises:
        ModelError: the model can't be loaded.
    """
    embedder = Embedder.from_pretrained(
        checkpoint, device=config.device, trust_remote_code=config.model.trust_remote_code
    )
    cache = _cache(config)
    kept = CachedEmbedder(embedder, cache)
    console.say(f"encoding {len(pool.texts):,} passages and {len(rows.queries):,} queries with {checkpoint}")
    passages = passage_vectors(kept, pool.texts, prompt=config.passage_prompt, show_progress=True)
    queries = query_vectors(kept, rows.queries, rows.prompts, prompt=config.query_prompt, show_progress=True)
    cache.prune()
    if cache.found:
        console.say(f"{cache.found:,} of the vectors were in the cache {cache.folder}")
    return Vectorised(rows, pool, queries, passages, str(embedder.device))


def _cache(config: MineConfig) -> ArrayCache:
    return ArrayCache(cache_folder("vectors") if config.cache else None)


def miner_of(config: MineConfig, vectors: Vectorised) -> Miner:
    """How negatives are found for these rows; ranks are counted from 0.

    Raises:
        ModelError: the cross-encoder can't be loaded.
    """
    rows, wanted = vectors.rows, config.limits
    first, last = map(int, config.range.split("-"))
    miner = Miner(
        filters_of(rows, vectors.pool),
        Choice(first, last, config.neg_nums, config.sampling, config.seed),
        spare=rows.answers.most + 1 + max(map(len, rows.own), default=0),
        limits=Limits(wanted.max_score, wanted.min_score, wanted.margin, wanted.relative_margin),
        references=vectors.references(wanted.positive_score),
        judge=_judge_of(config, vectors),
    )
    if config.fill == "random":
        miner.filler = FromTheCorpus(miner, vectors.query_QH, vectors.corpus)
    elif config.fill == "relax":
        miner.filler = relaxing
    return miner


def _judge_of(config: MineConfig, vectors: Vectorised) -> Judge | None:
    """The cross-encoder that looks again, if one is asked for."""
    wanted = config.rerank
    if wanted.rerank_with is None:
        return None
    model = load_cross_encoder(wanted.rerank_with, vectors.device, trust_remote_code=config.model.trust_remote_code)
    limits = Limits(max_score=wanted.rerank_max_score, margin=wanted.rerank_margin)
    how, size = config.limits.positive_score, wanted.rerank_batch_size
    return CrossJudge(model, vectors.rows, vectors.pool, limits, how, _cache(config), size)


def finder_of(config: MineConfig, vectors: Vectorised, depth: int) -> Finder:
    """How candidates are found: exactly unless --ann, and by words too with --also.

    Args:
        config: says how.
        vectors: what is searched.
        depth: candidates that will be asked for.

    Raises:
        ConfigError: a package that this needs is missing.
    """
    finder = vectors.finder()
    if config.ann:
        finder = approximate(config.ann, vectors.query_QH, vectors.corpus, depth, config.seed)
    if config.also:
        lexical = Lexical(vectors.pool.texts[: vectors.pool.searched])
        finder = mixed(finder, lexical, vectors.rows.queries, vectors.query_QH, vectors.corpus)
    return finder
