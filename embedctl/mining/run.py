"""`mine`: find negatives for rows and write the rows with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from embedctl import console
from embedctl.data.passages import read_passages
from embedctl.data.rows import read_rows
from embedctl.errors import DataError
from embedctl.files import write_atomically
from embedctl.mining.cache import ArrayCache, kept_encode
from embedctl.mining.candidates import references
from embedctl.mining.filters import filters_of
from embedctl.mining.job import MiningJob, MiningResult
from embedctl.mining.miner import RERANKED_BLOCK, Filler, Miner, RandomTexts, Sieve, block_of, relaxed
from embedctl.mining.pool import MiningData, gather, pair_scores
from embedctl.mining.report import Report, summary
from embedctl.mining.rerank import Reranker, load_cross_encoder
from embedctl.mining.rewrite import write
from embedctl.model.embedder import Embedder
from embedctl.search.bm25 import Lexical, mixed
from embedctl.search.exact import Finder, Ids, Vectors, exact
from embedctl.search.faiss_index import approximate
from embedctl.search.vectors import passage_vectors, query_vectors


def mine(job: MiningJob) -> MiningResult:
    """Read the rows, search, choose, and write the rows with their negatives.

    Raises:
        ConfigError: a package that the search needs is missing.
        DataError: a row or the corpus is wrong, or the corpus is empty.
        ModelError: a model can't be loaded, or gives a vector or score that is not finite.
    """
    corpus = read_passages(job.corpus) if job.corpus else None
    data = gather(chain.from_iterable(map(read_rows, job.files)), corpus, keep_negatives=job.keep_negatives)
    if not data.searched:
        raise DataError(f"{job.corpus}: has no passages", "give a --corpus, or leave it out to search the rows' texts")
    encoded = encode(job, data)
    miner = miner_of(job, encoded)
    finder = finder_of(job, encoded, miner.depth)
    found = miner.mine(range(len(data.queries)), finder, RERANKED_BLOCK if miner.reranker else block_of(encoded.device))
    scorers = ({"rerank_scores": miner.reranker.scores} if miner.reranker else {}) | {"similarities": encoded.scores}
    report = Report(data, scorers, job.choice.seed) if job.report else None
    result = write(job, data, found, (miner.reranker or encoded).scores, report)
    if report and job.report:
        write_atomically(job.report, report.html(summary(job, result)))
    return result


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
    kept = kept_encode(embedder, cache)
    console.info(f"encoding {len(texts):,} passages and {len(queries):,} queries with {job.model}")
    text_PH = passage_vectors(embedder, texts, prompt=job.passage_prompt, show_progress=True, encode=kept)
    query_QH = query_vectors(embedder, queries, data.prompts, prompt=job.query_prompt, show_progress=True, encode=kept)
    cache.prune()
    if cache.found:
        console.info(f"{cache.found:,} of the vectors were in the cache {cache.folder}")
    return Encoded(data, query_QH, text_PH, str(embedder.device))


def miner_of(job: MiningJob, encoded: Encoded) -> Miner:
    """How negatives are chosen.

    Raises:
        ModelError: the reranker can't be loaded.
    """
    data = encoded.data
    positives = references(encoded.scores(range(len(data.queries)), data.measured), job.positive_score)
    sieve = Sieve(filters_of(job, data), job.limits, positives)
    anything = RandomTexts(sieve, job.choice.seed, encoded.query_QH, encoded.corpus)
    fillers: dict[str, Filler | None] = {"fewer": None, "relax": relaxed, "random": anything}
    reranker = None
    if job.rerank_with:
        model = load_cross_encoder(job.rerank_with, encoded.device, trust_remote_code=job.trust_remote_code)
        cache, size = ArrayCache(job.cache), job.rerank_batch_size
        reranker = Reranker(model, data, job.rerank_limits, job.positive_score, cache, size)
    return Miner(sieve, job.choice, data.most_excluded, reranker, fillers[job.fill])


def finder_of(job: MiningJob, encoded: Encoded, depth: int) -> Finder:
    """How candidates are found: by exact search or an approximate one, and by BM25 too if asked for.

    Raises:
        ConfigError: a package that this needs is missing.
    """
    data, query_QH, corpus_DH = encoded.data, encoded.query_QH, encoded.corpus
    finder = exact(query_QH, corpus_DH, encoded.device)
    if job.ann:
        finder = approximate(job.ann, query_QH, corpus_DH, depth, job.choice.seed)
    if job.also:
        finder = mixed(finder, Lexical(data.pool.texts[: data.searched]), data.queries, query_QH, corpus_DH)
    return finder
