"""Write the rows with their mined negatives, and a second file with the reasons why rows have too few negatives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from embedctl import console
from embedctl.files import atomic_file
from embedctl.inputs import InputFiles
from embedctl.mining.candidates import MinedRow
from embedctl.mining.data import MiningData, Scorer
from embedctl.mining.job import ROWS, SHORT_ROWS, MiningJob, MiningResult
from embedctl.mining.report import Report
from embedctl.outputs import recorder
from embedctl.reading.json_values import read_json_values

REPLACED_KEYS = ("neg_scores", "pos_scores")  # teacher scores of the row before mining


def write_rows(
    job: MiningJob,
    data: MiningData,
    mined_rows: Iterator[MinedRow],
    scorer: Scorer,
    report: Report | None,
    inputs: InputFiles,
) -> MiningResult:
    """Write the output file, and `OUTPUT.short.jsonl` if any row has fewer negatives than requested.

    The scorer computes the scores that are written with `--scores`. The report, if given, receives every row.

    Raises:
        DataError: a file of rows has changed since its state `inputs` was recorded.
        OutputError: a file cannot be written.
    """
    result, requested = MiningResult(corpus=data.corpus_size), job.selection.count
    with (
        atomic_file(job.short_file, complete=recorder(job.short_file, SHORT_ROWS)) as short_stream,
        atomic_file(job.output, complete=recorder(job.output, ROWS)) as stream,  # renamed before the other file
        console.progress("mine", len(data.queries), "rows") as bar,
        inputs.unchanged(),
    ):
        # The files can have another number of rows only if they changed, which `inputs` detects.
        for row, mined in zip(read_row_objects(job.files), mined_rows, strict=False):
            index = mined.candidates.row
            output = with_negatives(row, [data.text_to_write(text) for text in mined.negatives.ids], job)
            if job.scores:
                output |= teacher_scores(output, index, data, scorer)
            result.scored_rows += "neg_scores" in output
            stream.write(_json_line(output))
            if len(mined.negatives) < requested:
                shortage = {"row": index + 1, "query": data.queries[index]} | mined.shortage(requested)
                short_stream.write(_json_line(shortage))
            if report:
                report.add(mined, row["pos"])
            result.add(mined, requested)
            bar.advance()
        short_stream.flush()  # a full disk is noticed before the output is renamed
    if result.short_rows:
        result.short_file = job.short_file
    else:
        job.short_file.unlink()
    return result


def with_negatives(row: dict[str, Any], negatives: list[str], job: MiningJob) -> dict[str, Any]:
    """Return a row with mined negatives, after its own negatives if they are kept, and without old teacher scores."""
    kept = {key: value for key, value in row.items() if key not in REPLACED_KEYS}
    own_negatives = list(row.get("neg") or ()) if job.keep_negatives else []
    return kept | {"neg": own_negatives + negatives}


def teacher_scores(row: dict[str, Any], index: int, data: MiningData, scorer: Scorer) -> dict[str, list[float]]:
    """Return the keys pos_scores and neg_scores of the row at `index`; none if it is graded or has no negatives."""
    if row.get("scores") or not row["neg"]:
        return {}
    found = {key: scorer([index], [data.distinct.indices_of(row[key])])[0] for key in ("pos", "neg")}
    return {f"{key}_scores": [round(float(score), 6) for score in scores] for key, scores in found.items()}


def read_row_objects(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of files as JSON objects with all their keys."""
    return (row.value for name in files for row in read_json_values(name) if row.problem is None)


def _json_line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
