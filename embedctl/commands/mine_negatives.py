"""`embedctl mine-negatives`: search hard negatives with a model and add them to the rows of training files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedctl import console
from embedctl.commands.default_model import model_or_default
from embedctl.commands.flags import with_options
from embedctl.config import MineConfig
from embedctl.config.base import parse_range
from embedctl.outputs import claim
from embedctl.resources import example_data, private_cache

if TYPE_CHECKING:
    from embedctl.mining.job import MiningJob, MiningResult

EXAMPLES = r"""
# Mine for the shipped example rows, with the model that train wrote to ./out.
embedctl mine-negatives

# Search your own corpus with a pretrained model.
embedctl mine-negatives --model BAAI/bge-base-zh-v1.5 --dataset train.jsonl \
    --corpus corpus.jsonl -o train-mined.jsonl

# Reject passages that score almost as high as the positive; write a report.
embedctl mine-negatives --model BAAI/bge-base-zh-v1.5 --dataset train.jsonl \
    --relative-margin 0.05 -o train-strict.jsonl --report report.html
"""


@with_options(MineConfig)
def command(config: MineConfig) -> None:
    """Mine hard negatives for training rows.

    For each row, a model searches the corpus for passages that are similar to the query and are not listed as its
    positives; they replace the row's negatives, unless --keep-negatives is set. The output is a new file of rows for
    `embedctl train`.
    """
    files = input_files(config)
    job = build_job(config, files)
    inputs = {"--dataset": files, "--corpus": [job.corpus] if job.corpus else [], "--model": [job.model]}
    with claim(job.outputs, inputs, overwrite=config.overwrite):
        from embedctl.mining.report import next_step, shortage, summary
        from embedctl.mining.run import mine

        result = mine(job)
        console.panel("mine-negatives", summary(job, result))
        if message := shortage(job, result):
            console.warn(message)
        if result.negatives:
            console.info(f"next: {next_step(job, result)}")
        if config.json_output:
            console.result(json_result(job, result))


def input_files(config: MineConfig) -> list[str]:
    """Return the files of rows; without --dataset, the example file. Stdin or a pipe raises a ConfigError."""
    from embedctl.reading.files import check_readable_again

    for name in config.dataset:
        check_readable_again(name, "--dataset", "mine-negatives reads the rows twice")
    if not config.dataset:
        console.info("no --dataset given; mining negatives for the example rows shipped with embedctl")
    return list(config.dataset) or [str(example_data("train.json"))]


def build_job(config: MineConfig, files: Sequence[str]) -> MiningJob:
    """Return the mining job of a configuration, with the default model if none is given."""
    from embedctl.mining.candidates import Limits, Selection
    from embedctl.mining.job import MiningJob

    limits, rerank = config.limits, config.rerank
    return MiningJob(
        model=model_or_default(config.model.model_name_or_path),
        trust_remote_code=config.model.trust_remote_code,
        device=config.device,
        files=tuple(files),
        corpus=config.corpus,
        query_prompt=config.query_prompt,
        passage_prompt=config.passage_prompt,
        cache=private_cache("vectors") if config.cache else None,
        ann=config.ann,
        also=config.also,
        selection=Selection(*parse_range(config.range), config.neg_nums, config.sampling, config.seed),
        limits=Limits(limits.max_score, limits.min_score, limits.margin, limits.relative_margin),
        positive_score=limits.positive_score,
        filter_options=limits.model_dump(),
        rerank_with=rerank.rerank_with,
        rerank_limits=Limits(max_score=rerank.rerank_max_score, margin=rerank.rerank_margin),
        rerank_batch_size=rerank.rerank_batch_size,
        fill=config.fill,
        keep_negatives=config.keep_negatives,
        scores=config.scores,
        output=Path(config.output),
        report=Path(config.report) if config.report else None,
    )


def json_result(job: MiningJob, result: MiningResult) -> dict[str, Any]:
    """Return what `--json` prints."""
    short_file = str(result.short_file) if result.short_file else None
    return {"output": str(job.output)} | vars(result) | {"short_file": short_file}
