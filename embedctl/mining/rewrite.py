"""Writing rows again with what was mined for them; a file has its name only when it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from embedctl import console
from embedctl.config import MineConfig
from embedctl.files import replacing
from embedctl.mining.candidates import Mined
from embedctl.mining.miner import GPU_QUERY_BLOCK, JUDGED_BLOCK, QUERY_BLOCK, Judge, Miner
from embedctl.mining.pool import Pool
from embedctl.mining.report import Report, Texts
from embedctl.mining.setup import Vectorised, finder_of
from embedctl.reading.documents import documents

STALE = ("neg_scores", "pos_scores")  # they grade texts that are replaced


def write(config: MineConfig, output: Path, vectors: Vectorised, miner: Miner, page: Report | None) -> Path | None:
    """Write the rows with what is found for them, and beside them why some got fewer; gives the latter file.

    Args:
        config: what is kept of a row and added to it.
        output: the file.
        vectors: of the rows and the texts.
        miner: finds the negatives.
        page: learns what was found.
    """
    rows, pool = vectors.rows, vectors.pool
    beside = output.with_name(f"{output.stem}.short.jsonl")
    block = JUDGED_BLOCK if miner.judge else QUERY_BLOCK.get(vectors.device, GPU_QUERY_BLOCK)
    finder = finder_of(config, vectors, miner.choice.last + miner.spare)
    found = miner.mine(range(len(rows.queries)), finder, block)
    scorer = miner.judge or vectors
    with (
        replacing(output) as stream,
        replacing(beside) as reasons,
        console.progress("mine", len(rows.queries), "rows") as bar,
    ):
        for place, (document, mined) in enumerate(zip(documents_of(rows.files), found, strict=True)):
            row = mined_row(document, mined, pool.texts, keep=config.keep_negatives)
            if page:
                positives = _scored_by_all(place, document["pos"], vectors, miner.judge)
                page.add(mined, rows.queries[place], positives, [pool.texts[one] for one in mined.ids])
            row = scored(row, place, pool, scorer) if config.scores else row
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            if len(mined.ids) < miner.choice.number:
                why = {"row": place + 1, "query": rows.queries[place], **mined.why(miner.choice)}
                reasons.write(json.dumps(why, ensure_ascii=False) + "\n")
            bar.advance()
    if miner.counts["short rows"]:
        return beside
    beside.unlink()
    return None


def _scored_by_all(place: int, texts: list[str], vectors: Vectorised, judge: Judge | None) -> Texts:
    """Texts of a row with their scores by the model and by the judge."""
    places = [vectors.pool.places_of(texts)]
    return Texts(texts, vectors.scores([place], places)[0], judge.scores([place], places)[0] if judge else None)


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
    return (document.value for name in files for document in documents(name) if document.fault is None)
