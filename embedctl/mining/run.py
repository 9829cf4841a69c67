"""The command `mine-negatives`: encode, search, select negatives and write the rows with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from embedctl import console
from embedctl.console import plural
from embedctl.data.passages import read_passages
from embedctl.data.rows import read_rows
from embedctl.errors import ConfigError, DataError
from embedctl.files import write_atomically
from embedctl.inputs import InputFiles
from embedctl.mining.cache import ArrayCache, cached_encode
from embedctl.mining.candidates import reference_scores
from embedctl.mining.data import MiningData, collect_data
from embedctl.mining.filters import build_filters
from embedctl.mining.job import REPORT, MiningJob, MiningResult
from embedctl.mining.miner import CandidateFilter, FillFunction, Miner, RandomFill, fill_relaxed, rows_per_block
from embedctl.mining.output import write_rows
from embedctl.mining.report import Report, summary
from embedctl.mining.rerank import Reranker, load_cross_encoder
from embedctl.model.embedder import Embedder
from embedctl.model.similarity import COSINE, Similarity
from embedctl.outputs import recorder
from embedctl.search.bm25 import BM25Index, hybrid_searcher
from embedctl.search.exact import Ids, Searcher, Vectors, exact_searcher
from embedctl.search.faiss_index import approximate_searcher
from embedctl.search.vectors import passage_vectors, query_vectors


def mine(job: MiningJob) -> MiningResult:
    """Run a mining job and write its output files.

    Raises:
        ConfigError: a package that the search needs is not installed, or the model's scores cannot be teacher scores.
        DataError: a row or the corpus is invalid, or the corpus is empty.
        ModelError: a model cannot be loaded, or returns an embedding or score that is NaN or infinite.
    """
    inputs = InputFiles.of(job.files)  # they are read again while the output is written
    corpus = read_passages(job.corpus) if job.corpus else None
    data = collect_data(chain.from_iterable(map(read_rows, job.files)), corpus, keep_negatives=job.keep_negatives)
    if not data.corpus_size:
        hint = "give a --corpus with passages, or omit --corpus to search the texts of the rows"
        raise DataError(f"{job.corpus}: the file contains no passages", hint)
    encoded = encode(job, data)
    miner = build_miner(job, encoded)
    searcher = build_searcher(job, encoded, miner.depth)
    block = rows_per_block(encoded.device, reranked=miner.reranker is not None)
    mined_rows = miner.mine(range(len(data.queries)), searcher, block)
    scorers = ({"rerank_scores": miner.reranker.scores} if miner.reranker else {}) | {"similarities": encoded.scores}
    report = Report(data, scorers, job.selection.seed) if job.report else None
    result = write_rows(job, data, mined_rows, (miner.reranker or encoded).scores, report, inputs)
    if report and job.report:
        write_atomically(job.report, report.html(summary(job, result)), complete=recorder(job.report, REPORT))
    return result


@dataclass(frozen=True)
class EncodedData:
    """Rows and texts with their embeddings."""

    data: MiningData  # Q rows and P distinct texts
    query_QH: Vectors  # embeddings of the queries
    text_PH: Vectors  # embeddings of the distinct texts
    similarity: Similarity  # function of the model, for which the embeddings are prepared
    device: str  # device of the search

    @property
    def corpus(self) -> Vectors:
        """The embeddings (D, H) of the corpus."""
        return self.text_PH[: self.data.corpus_size]

    def scores(self, rows: Sequence[int], ids: Sequence[Ids]) -> list[Vectors]:
        """Return the scores of each row's query with the texts `ids` of that row. See `Scorer`."""
        pairs = zip(rows, ids, strict=True)
        return [self.similarity.pair_scores(self.query_QH[row], self.text_PH[row_ids]) for row, row_ids in pairs]


def encode(job: MiningJob, data: MiningData) -> EncodedData:
    """Encode queries and passages, using the cache.

    Raises:
        ConfigError: the model's scores cannot be teacher scores.
        ModelError: the model cannot be loaded.
    """
    texts, queries = data.distinct.texts, data.queries
    embedder = Embedder.from_pretrained(job.model, device=job.device, trust_remote_code=job.trust_remote_code)
    check_teacher(job, embedder.similarity)
    cache = ArrayCache(job.cache)
    encode_texts = cached_encode(embedder, cache)
    counts = f"{plural(len(texts), 'passage')} and {plural(len(queries), 'query', 'queries')}"
    console.info(f"encoding {counts} with {job.model}")
    if embedder.similarity is not COSINE:
        console.info(f"scores and limits are by the similarity function of the model, {embedder.similarity.name}")
    text_PH = passage_vectors(embedder, texts, prompt=job.passage_prompt, encode=encode_texts)
    prompts, prompt = data.prompts, job.query_prompt
    query_QH = query_vectors(embedder, queries, prompts, prompt=prompt, encode=encode_texts)
    cache.prune()
    if cache.hits:
        console.info(f"read {plural(cache.hits, 'embedding')} from the cache {cache.folder}")
    return EncodedData(data, query_QH, text_PH, embedder.similarity, str(embedder.device))


def check_teacher(job: MiningJob, similarity: Similarity) -> None:
    """Raise a ConfigError if the scores of the model, compared by `similarity`, would be written as teacher scores.

    The distillation losses compare teacher scores with cosine similarities. The scale of other functions depends on the
    lengths of the embeddings, so no --teacher-temperature can be recommended for them.
    """
    if job.scores and not job.rerank_with and similarity is not COSINE:
        function = f"the similarity function of {job.model}, {similarity.name}, has no fixed scale"
        message = f"--scores: {function}, so its scores cannot be used as teacher scores"
        raise ConfigError(message, "use --rerank-with MODEL to write the scores of a reranker, or remove --scores")


def build_miner(job: MiningJob, encoded: EncodedData) -> Miner:
    """Return the miner of a job.

    Raises:
        ModelError: the reranker cannot be loaded.
    """
    data = encoded.data
    positive_scores = encoded.scores(range(len(data.queries)), data.reference_positives)
    references = reference_scores(positive_scores, job.positive_score)
    candidate_filter = CandidateFilter(build_filters(job, data), job.limits, references)
    random_fill = RandomFill(candidate_filter, job.selection.seed, encoded.query_QH, encoded.corpus, encoded.similarity)
    fills: dict[str, FillFunction | None] = {"fewer": None, "relax": fill_relaxed, "random": random_fill}
    reranker = None
    if job.rerank_with:
        model = load_cross_encoder(job.rerank_with, encoded.device, trust_remote_code=job.trust_remote_code)
        cache, batch_size = ArrayCache(job.cache), job.rerank_batch_size
        reranker = Reranker(model, data, job.rerank_limits, job.positive_score, cache, batch_size)
    return Miner(candidate_filter, job.selection, data.max_excluded, reranker, fills[job.fill])


def build_searcher(job: MiningJob, encoded: EncodedData, depth: int) -> Searcher:
    """Return an exact or approximate search for `depth` candidates per row, combined with BM25 if the job requests it.

    Raises:
        ConfigError: a package that the search needs is not installed.
    """
    data, query_QH, corpus_DH, similarity = encoded.data, encoded.query_QH, encoded.corpus, encoded.similarity
    searcher = exact_searcher(query_QH, corpus_DH, encoded.device, similarity=similarity)
    if job.ann:
        seed = job.selection.seed
        searcher = approximate_searcher(job.ann, query_QH, corpus_DH, depth, seed, searcher, similarity)
    if job.also:
        bm25 = BM25Index(data.distinct.texts[: data.corpus_size])
        searcher = hybrid_searcher(searcher, bm25, data.queries, query_QH, corpus_DH, similarity)
    return searcher
