"""`embedctl mine-negatives`: give rows the hard negatives that a model finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedctl import console
from embedctl.commands.checkpoints import checkpoint_of
from embedctl.commands.flags import with_options
from embedctl.config import MineConfig
from embedctl.config.base import bounds
from embedctl.errors import ConfigError
from embedctl.files import expect_writable
from embedctl.resources import cache_folder, example_data

if TYPE_CHECKING:
    from embedctl.mining.job import MiningJob, MiningResult

EXAMPLE = "Example: embedctl mine-negatives --model out --dataset train.jsonl --corpus corpus.jsonl -o mined.jsonl"


@with_options(MineConfig)
def command(config: MineConfig) -> None:
    """Find hard negatives: near the query, but no known answer."""
    files = files_of(config)
    expect_output(config, files)
    job = job_of(config, files)
    from embedctl.mining.report import summary
    from embedctl.mining.run import mine

    result = mine(job)
    console.panel("mine-negatives", summary(job, result))
    if config.json_output:
        console.result(document(job, result))


def files_of(config: MineConfig) -> list[str]:
    """The files of rows, the example rows by default.

    Raises:
        ConfigError: one is stdin, which can't be read twice.
    """
    if "-" in config.dataset:
        raise ConfigError("--dataset -: rows are read twice, which stdin can't be", "write them to a file first")
    if not config.dataset:
        console.info("no --dataset: mining for the example rows shipped with embedctl")
    return list(config.dataset) or [str(example_data("train.json"))]


def expect_output(config: MineConfig, files: Sequence[str]) -> None:
    """Make sure that the output and the report can be written.

    Raises:
        ConfigError: the output exists, is a folder or an input, or it or the report can't be written.
    """
    output = Path(config.output)
    inputs = [Path(name) for name in (*files, config.corpus) if name]
    if output.is_dir():
        raise ConfigError(f"--output {output}: is a folder", "name a file")
    if any(output.exists() and name.exists() and output.samefile(name) for name in inputs):
        raise ConfigError(f"--output {output}: is an input", "write to another file")
    if output.exists() and not config.overwrite:
        raise ConfigError(f"--output {output}: exists", "choose another name, or replace it with --overwrite")
    expect_writable(output.parent, f"--output {output}", "name a file elsewhere")
    if config.report:
        report = Path(config.report)
        expect_writable(report.parent, f"--report {report}", "name a file elsewhere")


def job_of(config: MineConfig, files: Sequence[str]) -> MiningJob:
    """The job that a configuration describes.

    Raises:
        ModelError: no model is named, and no run in this folder left one.
    """
    from embedctl.mining.candidates import Choice, Limits
    from embedctl.mining.job import MiningJob

    limits, rerank = config.limits, config.rerank
    return MiningJob(
        model=checkpoint_of(config.model.model_name_or_path),
        trust_remote_code=config.model.trust_remote_code,
        device=config.device,
        files=tuple(files),
        corpus=config.corpus,
        query_prompt=config.query_prompt,
        passage_prompt=config.passage_prompt,
        cache=cache_folder("vectors") if config.cache else None,
        ann=config.ann,
        also=config.also,
        choice=Choice(*bounds(config.range), config.neg_nums, config.sampling, config.seed),
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


def document(job: MiningJob, result: MiningResult) -> dict[str, Any]:
    """What `--json` prints."""
    short_file = str(result.short_file) if result.short_file else None
    return {"output": str(job.output)} | vars(result) | {"short_file": short_file}
