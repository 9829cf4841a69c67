"""`embedctl mine-negatives`: give rows the hard negatives that a model finds."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embedctl import console
from embedctl.commands.checkpoints import checkpoint_of
from embedctl.commands.flags import takes
from embedctl.config import MineConfig
from embedctl.errors import ConfigError, DataError
from embedctl.files import replacing
from embedctl.resources import example_data

if TYPE_CHECKING:
    from embedctl.mining.pool import Pool, Rows

EXAMPLE = "Example: embedctl mine-negatives --model out --dataset train.jsonl --corpus corpus.jsonl -o mined.jsonl"


@takes(MineConfig)
def command(config: MineConfig) -> None:
    """Find hard negatives: near the query, but no known answer."""
    files = files_of(config)
    output = output_of(config, files)
    rows, pool = read(config, files)
    from embedctl.mining.report import Report
    from embedctl.mining.rewrite import write
    from embedctl.mining.setup import miner_of, vectorise

    vectors = vectorise(config, checkpoint_of(config.model.model_name_or_path), rows, pool)
    miner = miner_of(config, vectors)
    page = Report(config.seed) if config.report else None
    short = write(config, output, vectors, miner, page)
    facts = report(config, output, len(rows.queries), pool.searched, miner.counts, short)
    if page and config.report:
        with replacing(Path(config.report)) as stream:
            stream.write(page.html(facts))


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
        ConfigError: it exists, is a folder or an input, or it or the page can't be written.
    """
    output = Path(config.output)
    inputs = [Path(name) for name in (*files, config.corpus) if name]
    if output.is_dir():
        raise ConfigError(f"--output {output}: is a folder", "name a file")
    if any(output.exists() and name.exists() and output.samefile(name) for name in inputs):
        raise ConfigError(f"--output {output}: is an input", "write to another file")
    if output.exists() and not config.overwrite:
        raise ConfigError(f"--output {output}: exists", "choose another name, or replace it with --overwrite")
    expect_writable("--output", output)
    if config.report:
        expect_writable("--report", Path(config.report))
    return output


def expect_writable(flag: str, path: Path) -> None:
    """Make the folder of a file to write.

    Raises:
        ConfigError: that, or writing into it, is not possible.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as cause:
        raise ConfigError(f"{flag} {path}: can't be written: {cause.strerror}", "name a file elsewhere") from None


def read(config: MineConfig, files: list[str]) -> tuple[Rows, Pool]:
    """The rows, and the distinct passages to search with the answers that they lack.

    Raises:
        DataError: a row or the corpus is wrong, or the corpus is empty.
    """
    from embedctl.mining.pool import gather
    from embedctl.reading.passages import read_passages

    corpus = read_passages(config.corpus) if config.corpus else None
    rows, pool = gather(files, corpus, keep_negatives=config.keep_negatives)
    if not pool.searched:
        hint = "give a --corpus, or leave it out to search the rows' texts"
        raise DataError(f"{config.corpus}: has no passages", hint)
    return rows, pool


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
