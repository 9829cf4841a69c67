"""`embedctl mine-negatives`: give rows the hard negatives that a model finds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from embedctl import console
from embedctl.commands.checkpoints import checkpoint_of
from embedctl.commands.flags import takes
from embedctl.config import MineConfig
from embedctl.errors import ConfigError, DataError
from embedctl.resources import example_data

if TYPE_CHECKING:
    from embedctl.retrieval.index import Ids
    from embedctl.retrieval.mining import Answers, Choice, Miner

EXAMPLE = "Example: embedctl mine-negatives --model out --dataset train.jsonl --corpus corpus.jsonl -o mined.jsonl"
STALE = ("neg_scores", "pos_scores")  # they grade texts that are replaced


@dataclass
class Rows:
    """What mining needs of the rows; the rows themselves are read again when they are written.

    Args:
        files: where they are.
        answers: the positives of each query.
        queries: a row's query.
        prompts: a row's own prompt, or None.
        passages: the distinct positives and negatives.
    """

    files: list[str]
    answers: Answers
    queries: list[str] = field(default_factory=list)
    prompts: list[str | None] = field(default_factory=list)
    passages: dict[str, None] = field(default_factory=dict)


@takes(MineConfig)
def command(config: MineConfig) -> None:
    """Find hard negatives: near the query, but no known answer."""
    choice = choice_of(config)
    rows = read(files_of(config), keep_passages=config.corpus is None)
    output = output_of(config, rows.files)
    corpus = corpus_of(config, rows)
    miner, negatives = search(config, rows, corpus, choice)
    with replacing(output) as stream, console.progress("mine", len(rows.queries), "rows") as bar:
        for row, ids in zip(documents_of(rows.files), negatives, strict=True):
            kept = {name: value for name, value in row.items() if name not in STALE}
            stream.write(json.dumps(kept | {"neg": [corpus[place] for place in ids]}, ensure_ascii=False) + "\n")
            bar.advance()
    report(config, output, len(rows.queries), len(corpus), miner.counts)


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
    return Choice(first, last, config.neg_nums, config.sampling == "random", config.seed)


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


def read(files: list[str], *, keep_passages: bool) -> Rows:
    """Go through the rows once.

    Raises:
        DataError: a row is wrong.
    """
    from embedctl.data.formats import read_rows
    from embedctl.retrieval.mining import Answers

    rows = Rows(files, Answers())
    for name in files:
        for row in read_rows(name):
            rows.answers.add(row)
            rows.queries.append(row.query)
            rows.prompts.append(row.prompt)
            if keep_passages:
                rows.passages |= dict.fromkeys((*row.pos, *row.neg))
    return rows


def corpus_of(config: MineConfig, rows: Rows) -> list[str]:
    """The distinct passages to search.

    Raises:
        DataError: the corpus is missing, wrong or empty.
    """
    from embedctl.retrieval.corpus import read_passages

    corpus = list(dict.fromkeys(read_passages(config.corpus))) if config.corpus else list(rows.passages)
    if not corpus:
        raise DataError(
            f"{config.corpus}: has no passages", "give a --corpus, or leave it out to search the rows' texts"
        )
    return corpus


def search(config: MineConfig, rows: Rows, corpus: list[str], choice: Choice) -> tuple[Miner, Iterator[Ids]]:
    """Encode queries and corpus; the negatives are searched for as they are asked for.

    Raises:
        ModelError: the model can't be loaded.
    """
    from embedctl.model.embedder import Embedder
    from embedctl.retrieval.mining import Miner, hashes, no_answer, not_the_query
    from embedctl.retrieval.vectors import passage_vectors, query_vectors

    checkpoint = checkpoint_of(config.model.model_name_or_path)
    embedder = Embedder.from_pretrained(
        checkpoint, device=config.device, trust_remote_code=config.model.trust_remote_code
    )
    console.say(f"encoding {len(corpus):,} passages and {len(rows.queries):,} queries with {checkpoint}")
    passages = passage_vectors(embedder, corpus, prompt=config.passage_prompt, show_progress=True)
    queries = query_vectors(embedder, rows.queries, rows.prompts, prompt=config.query_prompt, show_progress=True)
    known = hashes(corpus)
    filters = {
        "answers": no_answer(rows.queries, known, rows.answers),
        "the query itself": not_the_query(rows.queries, known),
    }
    miner = Miner(filters, choice, spare=rows.answers.most + 1)
    return miner, miner.mine(queries, passages, str(embedder.device))


def documents_of(files: list[str]) -> Iterator[dict[str, Any]]:
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


def report(config: MineConfig, output: Path, rows: int, corpus: int, counts: Counter[str]) -> None:
    """Say what was found, and where fewer or nearer texts had to do."""
    negatives, short, nearer = counts["negatives"], counts["short rows"], counts["rows with nearer ranks"]
    rejected = {name.removeprefix("rejected: "): n for name, n in counts.items() if name.startswith("rejected: ")}
    facts = {
        "rows": f"{rows:,}",
        "corpus": f"{corpus:,} distinct passages",
        "negatives": f"{negatives:,} ({negatives / rows:.1f} a row)",
        "rejected": ", ".join(f"{name} {number:,}" for name, number in rejected.items()),
        "output": str(output),
        "next": f"embedctl train --dataset {output}",
    }
    if nearer:
        facts["nearer"] = f"{nearer:,} rows: the corpus is too small for ranks {config.range}, so they begin nearer"
    if short:
        facts["short"] = f"{short:,} rows have fewer than {config.neg_nums}: the corpus holds no more that may be taken"
    console.panel("mine-negatives", facts)
    if config.json_output:
        document = {"output": str(output), "rows": rows, "corpus": corpus, "negatives": negatives}
        console.result(document | {"short_rows": short, "nearer_rows": nearer, "rejected": rejected})
