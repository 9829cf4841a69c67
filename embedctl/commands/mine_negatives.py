"""`embedctl mine-negatives`: give rows the hard negatives that a model finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedctl import console
from embedctl.commands.checkpoints import checkpoint_of
from embedctl.commands.flags import takes
from embedctl.config import MineConfig
from embedctl.errors import ConfigError, DataError
from embedctl.resources import example_data

EXAMPLE = "Example: embedctl mine-negatives --model out --dataset train.jsonl --corpus corpus.jsonl -o mined.jsonl"
STALE = ("neg_scores", "pos_scores")  # they grade texts that are replaced


@takes(MineConfig)
def command(config: MineConfig) -> None:
    """Find hard negatives: near the query, but no known answer."""
    import numpy as np

    from embedctl.data.build import text_hash
    from embedctl.model.embedder import Embedder
    from embedctl.retrieval.mining import mine

    output = expect_output(config)
    files = list(config.dataset) or [str(example_data("train.json"))]
    choice = choice_of(config)
    rows, known = read(files)
    corpus = list(dict.fromkeys(read_corpus(config.corpus) if config.corpus else texts_of(rows)))
    embedder = Embedder.from_pretrained(
        checkpoint_of(config.model.model_name_or_path),
        device=config.device,
        trust_remote_code=config.model.trust_remote_code,
    )
    passages = embedder.encode_passages(corpus, prompt=config.passage_prompt, show_progress=True)
    queries = [row["query"] for row in rows]
    vectors = embedder.encode_queries(queries, prompt=config.query_prompt, show_progress=True)
    hashes = np.array([text_hash(text) for text in corpus], dtype=np.uint64)
    short, total = 0, 0
    temporary = output.with_name(f".{output.name}.tmp")
    with temporary.open("w", encoding="utf-8") as stream, console.progress("mine", len(rows), "rows") as bar:
        for row, places in zip(rows, mine(queries, vectors, passages, hashes, known, choice), strict=True):
            kept = {name: value for name, value in row.items() if name not in STALE}
            stream.write(json.dumps(kept | {"neg": [corpus[place] for place in places]}, ensure_ascii=False) + "\n")
            short, total = short + (len(places) < config.neg_nums), total + len(places)
            bar.advance()
    temporary.replace(output)
    report(config, output, {"rows": len(rows), "corpus": len(corpus), "negatives": total, "short_rows": short})


def choice_of(config: MineConfig) -> Any:
    """How negatives are chosen; ranks are counted from 0, as in FlagEmbedding.

    Raises:
        ConfigError: the range is empty.
    """
    from embedctl.retrieval.mining import Choice

    first, last = map(int, config.range.split("-"))
    if last <= first:
        raise ConfigError(f"--range {config.range}: its end must be above its beginning", "e.g. --range 10-210")
    return Choice(first, last, config.neg_nums, config.sampling == "random", config.seed)


def expect_output(config: MineConfig) -> Path:
    """The output file.

    Raises:
        ConfigError: it exists, or is an input.
    """
    output = Path(config.output)
    if any(output.exists() and Path(name).exists() and output.samefile(name) for name in config.dataset):
        raise ConfigError(f"--output {output}: is the input", "write to another file")
    if output.exists() and not config.overwrite:
        raise ConfigError(f"--output {output}: exists", "choose another name, or replace it with --overwrite")
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def read(files: list[str]) -> tuple[list[dict[str, Any]], Any]:
    """The rows as they stand in the files, every key kept, and their known positives."""
    from embedctl.data.formats import documents, read_rows
    from embedctl.data.rows import to_row
    from embedctl.retrieval.mining import KnownTexts

    rows, known = [], KnownTexts()
    for name in files:
        for _row in read_rows(name):  # says what is wrong before anything is encoded
            pass
        for document in documents(name):
            if document.fault is None:
                known.add(to_row(document.value))
                rows.append(document.value)
    return rows, known


def texts_of(rows: list[dict[str, Any]]) -> Iterator[str]:
    """All passages of the rows."""
    for row in rows:
        yield from row["pos"]
        yield from row.get("neg") or ()


def read_corpus(path: str) -> Iterator[str]:
    """The passages of a .txt file (one a line), of BEIR's corpus.jsonl or of rows.

    Raises:
        DataError: a line holds no text.
    """
    from embedctl.data.formats import documents, open_bytes

    if path.endswith(".txt"):
        with open_bytes(path) as stream:
            yield from (line.decode("utf-8").strip() for line in stream if line.strip())
        return
    for document in documents(path):
        value = document.value
        if isinstance(value, dict) and isinstance(value.get("text"), str):
            yield f"{value.get('title') or ''} {value['text']}".strip()
        elif isinstance(value, dict) and isinstance(value.get("pos"), list):
            yield from texts_of([value])
        elif document.fault is None or document.fault.code != "blank-line":
            message = document.fault.message if document.fault else "neither a text nor a row"
            raise DataError(f"{path}:{document.line}: text: {message}", "a passage is {\"text\": ...}")


def report(config: MineConfig, output: Path, counts: dict[str, int]) -> None:
    """Say what was found."""
    facts = {
        "rows": f"{counts['rows']:,}",
        "corpus": f"{counts['corpus']:,} distinct passages",
        "negatives": f"{counts['negatives']:,} ({counts['negatives'] / max(counts['rows'], 1):.1f} a row)",
        "output": str(output),
        "next": f"embedctl train --dataset {output}",
    }
    if counts["short_rows"]:
        facts["short"] = f"{counts['short_rows']:,} rows have fewer than {config.neg_nums}: the corpus holds no more that may be taken"
    console.panel("mine-negatives", facts)
    if config.json_output:
        console.result({"output": str(output)} | counts)
