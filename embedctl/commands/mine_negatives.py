"""`embedctl mine-negatives`: give rows the hard negatives that a model finds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from embedctl import console
from embedctl.commands.checkpoints import checkpoint_of
from embedctl.commands.flags import takes
from embedctl.config import MineConfig
from embedctl.errors import ConfigError, DataError
from embedctl.resources import cache_folder, example_data

if TYPE_CHECKING:
    from embedctl.retrieval.filters import Limits
    from embedctl.retrieval.mining import Choice, Finder, Judge, Mined, Miner
    from embedctl.retrieval.mining_report import Report
    from embedctl.retrieval.pool import Pool, Rows
    from embedctl.retrieval.setup import Vectorised

EXAMPLE = "Example: embedctl mine-negatives --model out --dataset train.jsonl --corpus corpus.jsonl -o mined.jsonl"
STALE = ("neg_scores", "pos_scores")  # they grade texts that are replaced


@takes(MineConfig)
def command(config: MineConfig) -> None:
    """Find hard negatives: near the query, but no known answer."""
    choice = choice_of(config)
    files = files_of(config)
    output = output_of(config, files)
    rows, pool = read(config, files)
    vectors = encode(config, rows, pool)
    miner = miner_of(config, choice, rows, pool, vectors)
    page = page_of(config)
    short = write(config, output, rows, pool, miner, vectors, page)
    facts = report(config, output, len(rows.queries), pool.searched, miner.counts, short)
    if page and config.report:
        with replacing(Path(config.report)) as stream:
            stream.write(page.html(facts))


def page_of(config: MineConfig) -> Report | None:
    """The page that is asked for."""
    from embedctl.retrieval.mining_report import Report

    return Report(config.seed) if config.report else None


def choice_of(config: MineConfig) -> Choice:
    """How negatives are chosen; ranks are counted from 0.

    Raises:
        ConfigError: the range holds too few ranks.
    """
    from embedctl.retrieval.mining import Choice

    first, last = map(int, config.range.split("-"))
    if last - first < config.neg_nums:
        message = f"--range {config.range} holds {max(0, last - first)} ranks, fewer than --neg-nums {config.neg_nums}"
        raise ConfigError(message, f"e.g. --range {first}-{first + max(200, config.neg_nums)}, or a lower --neg-nums")
    return Choice(first, last, config.neg_nums, config.sampling, config.seed)


def files_of(config: MineConfig) -> list[str]:
    """The files of rows, the example rows by default.

    Raises:
        ConfigError: one is stdin, which can't be read twice.
    """
    if "-" in config.dataset:
        raise ConfigError("--dataset -: rows are read twice, which stdin can't be", "write them to a file first")
    if not config.dataset:
        console.say("no --dataset: mining for the example rows shipped with embedctl")
    return list(config.dataset) or [str(example_data("train.json"))]


def output_of(config: MineConfig, files: Sequence[str]) -> Path:
    """The output file.

    Raises:
        ConfigError: it exists, is a folder or is an input.
    """
    output = Path(config.output)
    inputs = [Path(name) for name in (*files, config.corpus) if name]
    if output.is_dir():
        raise ConfigError(f"--output {output}: is a folder", "name a file")
    if any(output.exists() and name.exists() and output.samefile(name) for name in inputs):
        raise ConfigError(f"--output {output}: is an input", "write to another file")
    if output.exists() and not config.overwrite:
        raise ConfigError(f"--output {output}: exists", "choose another name, or replace it with --overwrite")
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def read(config: MineConfig, files: list[str]) -> tuple[Rows, Pool]:
    """The rows, and the distinct passages to search with the answers that they lack.

    Raises:
        DataError: a row or the corpus is wrong, or the corpus is empty.
    """
    from embedctl.retrieval.corpus import read_passages
    from embedctl.retrieval.pool import gather

    corpus = read_passages(config.corpus) if config.corpus else None
    rows, pool = gather(files, corpus, keep_negatives=config.keep_negatives)
    if not pool.searched:
        hint = "give a --corpus, or leave it out to search the rows' texts"
        raise DataError(f"{config.corpus}: has no passages", hint)
    return rows, pool


def encode(config: MineConfig, rows: Rows, pool: Pool) -> Vectorised:
    """The vectors of queries and passages.

    Raises:
        ModelError: the model can't be loaded.
    """
    from embedctl.model.embedder import Embedder
    from embedctl.retrieval.cache import ArrayCache, CachedEmbedder
    from embedctl.retrieval.setup import Vectorised
    from embedctl.retrieval.vectors import passage_vectors, query_vectors

    checkpoint = checkpoint_of(config.model.model_name_or_path)
    embedder = Embedder.from_pretrained(
        checkpoint, device=config.device, trust_remote_code=config.model.trust_remote_code
    )
    cache = ArrayCache(cache_folder("vectors") if config.cache else None)
    kept = CachedEmbedder(embedder, cache)
    console.say(f"encoding {len(pool.texts):,} passages and {len(rows.queries):,} queries with {checkpoint}")
    passages = passage_vectors(kept, pool.texts, prompt=config.passage_prompt, show_progress=True)
    queries = query_vectors(kept, rows.queries, rows.prompts, prompt=config.query_prompt, show_progress=True)
    cache.prune()
    if cache.found:
        console.say(f"{cache.found:,} of the vectors were in the cache {cache.folder}")
    return Vectorised(rows, pool, queries, passages, str(embedder.device))


def limits_of(config: MineConfig) -> Limits:
    """The scores that a negative may have."""
    from embedctl.retrieval.filters import Limits

    wanted = config.limits
    return Limits(wanted.max_score, wanted.min_score, wanted.margin, wanted.relative_margin)


def miner_of(config: MineConfig, choice: Choice, rows: Rows, pool: Pool, vectors: Vectorised) -> Miner:
    """How negatives are found for these rows."""
    from embedctl.retrieval.mining import FromTheCorpus, Miner, relaxing
    from embedctl.retrieval.setup import filters_of

    miner = Miner(
        filters_of(rows, pool),
        choice,
        spare=rows.answers.most + 1 + max(map(len, rows.own), default=0),
        limits=limits_of(config),
        references=vectors.references(config.limits.positive_score),
    )
    miner.judge = judge_of(config, rows, pool, vectors.device)
    if config.fill == "random":
        miner.filler = FromTheCorpus(miner, vectors.query_QH, vectors.corpus)
    elif config.fill == "relax":
        miner.filler = relaxing
    return miner


def judge_of(config: MineConfig, rows: Rows, pool: Pool, device: str) -> Judge | None:
    """The cross-encoder that looks again, if one is asked for.

    Raises:
        ModelError: it can't be loaded.
    """
    from embedctl.retrieval.cache import ArrayCache
    from embedctl.retrieval.filters import Limits
    from embedctl.retrieval.rerank import CrossJudge, load_cross_encoder

    wanted = config.rerank
    if wanted.rerank_with is None:
        return None
    model = load_cross_encoder(wanted.rerank_with, device, trust_remote_code=config.model.trust_remote_code)
    limits = Limits(max_score=wanted.rerank_max_score, margin=wanted.rerank_margin)
    cache = ArrayCache(cache_folder("vectors") if config.cache else None)
    return CrossJudge(model, rows, pool, limits, config.limits.positive_score, cache, wanted.rerank_batch_size)


def finder_of(config: MineConfig, vectors: Vectorised, depth: int) -> Finder:
    """How candidates are found: exactly unless --ann, and by words too with --also.

    Raises:
        ConfigError: a package that this needs is missing.
    """
    finder = vectors.finder()
    if config.ann:
        from embedctl.retrieval.approximate import approximate

        finder = approximate(config.ann, vectors.query_QH, vectors.corpus, depth, config.seed)
    if config.also:
        from embedctl.retrieval.lexical import Lexical, mixed

        lexical = Lexical(vectors.pool.texts[: vectors.pool.searched])
        finder = mixed(finder, lexical, vectors.rows.queries, vectors.query_QH, vectors.corpus)
    return finder


def write(
    config: MineConfig, output: Path, rows: Rows, pool: Pool, miner: Miner, vectors: Vectorised, page: Report | None
) -> Path | None:
    """Write the rows with what is found for them, and beside them why some got fewer; gives the latter file."""
    from embedctl.retrieval.mining import GPU_QUERY_BLOCK, JUDGED_BLOCK, QUERY_BLOCK

    beside = output.with_name(f"{output.stem}.short.jsonl")
    block = JUDGED_BLOCK if miner.judge else QUERY_BLOCK.get(vectors.device, GPU_QUERY_BLOCK)
    finder = finder_of(config, vectors, miner.choice.last + miner.spare)
    found = miner.mine(range(len(rows.queries)), finder, block)
    with (
        replacing(output) as stream,
        replacing(beside) as reasons,
        console.progress("mine", len(rows.queries), "rows") as bar,
    ):
        for place, (document, mined) in enumerate(zip(documents_of(rows.files), found, strict=True)):
            row = mined_row(document, mined, pool.texts, keep=config.keep_negatives)
            if page:
                scorer = miner.judge or vectors
                positives = scorer.scores([place], [pool.places_of(document["pos"])])[0]
                texts = [pool.texts[one] for one in mined.ids]
                page.add(mined, rows.queries[place], (document["pos"], positives), texts)
            row = scored(row, place, pool, miner.judge or vectors) if config.scores else row
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            if len(mined.ids) < miner.choice.number:
                why = {"row": place + 1, "query": rows.queries[place], **mined.why(miner.choice)}
                reasons.write(json.dumps(why, ensure_ascii=False) + "\n")
            bar.advance()
    if miner.counts["short rows"]:
        return beside
    beside.unlink()
    return None


def mined_row(document: dict[str, Any], mined: Mined, texts: Sequence[str], *, keep: bool) -> dict[str, Any]:
    """A row with its new negatives, after its own if they are kept; the scores of the old ones go."""
    row = {name: value for name, value in document.items() if name not in STALE}
    row["neg"] = (list(document.get("neg") or ()) if keep else []) + [texts[place] for place in mined.ids]
    return row


def scored(row: dict[str, Any], place: int, pool: Pool, scorer: Judge | Vectorised) -> dict[str, Any]:
    """The row with the scores that make it one to distil from; graded rows and those without negatives stay."""
    if row.get("scores") or not row["neg"]:
        return row
    for key in ("pos", "neg"):
        found = scorer.scores([place], [pool.places_of(row[key])])[0]
        row[f"{key}_scores"] = [round(float(score), 6) for score in found]
    return row


def documents_of(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows as they stand in the files, every key kept."""
    from embedctl.data.formats import documents

    return (document.value for name in files for document in documents(name) if document.fault is None)


@contextmanager
def replacing(output: Path) -> Iterator[TextIO]:
    """A temporary file that becomes `output` if all goes well, and is removed otherwise."""
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            yield stream
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def report(
    config: MineConfig, output: Path, rows: int, corpus: int, counts: Counter[str], short_file: Path | None
) -> dict[str, str]:
    """Say what was found, and where fewer or nearer texts had to do."""
    negatives, short, nearer = counts["negatives"], counts["short rows"], counts["rows with nearer ranks"]
    rejected = {name.removeprefix("rejected: "): n for name, n in counts.items() if name.startswith("rejected: ")}
    facts = {
        "rows": f"{rows:,}",
        "corpus": f"{corpus:,} distinct passages",
        "negatives": f"{negatives:,} ({negatives / rows:.1f} a row)",
        "rejected": ", ".join(f"{name} {number:,}" for name, number in rejected.items()),
        "above": f"{counts['above their positive']:,} negatives score above their row's positive: perhaps answers",
        "filled": f"{counts['filled']:,} negatives by --fill {config.fill}",
        "output": str(output),
        "next": f"embedctl train --dataset {output}",
        "nearer": f"{nearer:,} rows: too few candidates for ranks {config.range}, so they begin nearer",
        "short": f"{short:,} rows have fewer than {config.neg_nums}; {short_file} says why",
    }
    unless = {"above": counts["above their positive"], "filled": counts["filled"], "nearer": nearer, "short": short}
    facts = {name: fact for name, fact in facts.items() if unless.get(name, True)}
    console.panel("mine-negatives", facts)
    if config.json_output:
        document = {"output": str(output), "rows": rows, "corpus": corpus, "negatives": negatives}
        document |= {"short_rows": short, "short_file": short_file and str(short_file), "nearer_rows": nearer}
        document |= {"filled": counts["filled"], "above_positive": counts["above their positive"]}
        console.result(document | {"rejected": rejected})
    return facts
