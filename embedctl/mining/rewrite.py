"""Write rows again with what was mined for them, and beside them why some got fewer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from embedctl import console
from embedctl.files import atomic_file
from embedctl.mining.candidates import Mined
from embedctl.mining.job import MiningJob, MiningResult
from embedctl.mining.pool import MiningData, Scorer
from embedctl.mining.report import Report
from embedctl.reading.documents import documents

STALE = ("neg_scores", "pos_scores")  # they grade texts that are replaced


def write(
    job: MiningJob, data: MiningData, found: Iterator[Mined], scorer: Scorer, report: Report | None
) -> MiningResult:
    """Write the rows, and beside them why some got fewer negatives than wanted, if any did.

    Args:
        job: what is kept of a row and added to it.
        data: the rows and texts.
        found: what each row got, in order.
        scorer: gives the scores that are written, if any are.
        report: learns what was found.
    """
    result, wanted = MiningResult(corpus=data.searched), job.choice.number
    short_file = job.output.with_name(f"{job.output.stem}.short.jsonl")
    with (
        atomic_file(job.output) as stream,
        atomic_file(short_file) as reasons,
        console.progress("mine", len(data.queries), "rows") as bar,
    ):
        for document, mined in zip(documents_of(job.files), found, strict=True):
            row = mined.candidates.row
            rewritten = with_negatives(document, [data.pool.texts[one] for one in mined.negatives.ids], job)
            if job.scores:
                rewritten |= scores_of(rewritten, row, data, scorer)
            stream.write(_line(rewritten))
            if len(mined.negatives) < wanted:
                reasons.write(_line({"row": row + 1, "query": data.queries[row]} | mined.why(wanted)))
            if report:
                report.add(mined, document["pos"])
            result.add(mined, wanted)
            bar.advance()
    if result.short_rows:
        result.short_file = short_file
    else:
        short_file.unlink()
    return result


def with_negatives(document: dict[str, Any], negatives: list[str], job: MiningJob) -> dict[str, Any]:
    """A row with its new negatives, after its own if they are kept; the scores of the old ones go."""
    row = {name: value for name, value in document.items() if name not in STALE}
    own = list(document.get("neg") or ()) if job.keep_negatives else []
    return row | {"neg": own + negatives}


def scores_of(row: dict[str, Any], place: int, data: MiningData, scorer: Scorer) -> dict[str, list[float]]:
    """The scores that make a row one to distil from; none for graded rows and those without negatives."""
    if row.get("scores") or not row["neg"]:
        return {}
    found = {key: scorer([place], [data.pool.places_of(row[key])])[0] for key in ("pos", "neg")}
    return {f"{key}_scores": [round(float(score), 6) for score in scores] for key, scores in found.items()}


def documents_of(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows as they are in the files, every key kept."""
    return (document.value for name in files for document in documents(name) if document.fault is None)


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False) + "\n"
