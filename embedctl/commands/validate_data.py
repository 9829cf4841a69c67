"""`embedctl validate-data`: is the data what its owner thinks it is?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedctl import console
from embedctl.commands.flags import takes
from embedctl.config import TINY, ValidateConfig
from embedctl.errors import CheckFailed, ConfigError
from embedctl.resources import input_or_example

if TYPE_CHECKING:
    from embedctl.data.validate import TokenCount

EXAMPLE = "Example: embedctl validate-data train.jsonl --model BAAI/bge-base-zh-v1.5"


@takes(ValidateConfig)
def command(config: ValidateConfig) -> None:
    """Check data files and show what is in them."""
    if not config.files:
        raise ConfigError("no file given", "embedctl validate-data FILE...")
    from embedctl.data.validate import validate

    tokens = token_count(config)
    reports = []
    for name in config.files:
        path, shipped = input_or_example(name)
        if shipped:
            console.say(f"{name} is not in this folder: checking the example file shipped with embedctl")
        with console.progress(f"check {name}", None, "rows") as bar:
            reports.append(validate(path, config.neg_nums, config.max_errors, tokens, bar))
        show(reports[-1])
    errors = sum(report["stats"]["errors"] for report in reports)
    if config.json_output:
        console.result({"ok": errors == 0, "files": reports})
    if errors:
        raise CheckFailed(f"{errors:,} error{'s' if errors > 1 else ''} in {len(reports)} file{'s' if len(reports) > 1 else ''}", "mend the lines named above")


def token_count(config: ValidateConfig) -> TokenCount | None:
    """Counts tokens with the model's tokenizer, if one was named.

    Raises:
        ConfigError: the built-in model has no tokenizer before it is trained.
        ModelError: there is no such tokenizer.
    """
    if config.model_name_or_path is None:
        return None
    if config.model_name_or_path == TINY:
        raise ConfigError("--model tiny: has no tokenizer before it is trained", "name a pretrained model, or a trained one such as out")
    from embedctl.data.validate import TokenCount
    from embedctl.model.loading import load_tokenizer
    from embedctl.model.packing import tokenize

    tokenizer = load_tokenizer(config.model_name_or_path)
    limits = {"query": config.query_max_len, "pos": config.passage_max_len, "neg": config.passage_max_len}
    return TokenCount(lambda texts: tokenize(tokenizer, texts, None).lengths.tolist(), limits)


def show(report: dict[str, Any]) -> None:
    """Draw one file's report."""
    stats = report["stats"]
    for severity in ("errors", "warnings"):
        listed = report[severity]
        for fault in listed:
            console.say(f"{report['path']}:{fault['line']}: {fault['field']}: {fault['message']} [{fault['code']}]")
        if stats[severity] > len(listed):
            console.say(f"... and {stats[severity] - len(listed):,} more {severity} (--max-errors)")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report["kinds"].items()) or "none"
    console.say(f"{report['path']}: {report['rows']:,} rows ({kinds})")
    console.table("lengths", *lengths_table(stats))
    facts = {code: f"{count:,}" for code, count in (stats["error_counts"] | stats["warning_counts"]).items()}
    facts["repeated texts"] = f"{stats['duplicate_texts']:,} (each is encoded once)"
    verdict = "ok" if not stats["errors"] else f"{stats['errors']:,} errors"
    console.panel(f"{verdict}, {stats['warnings']:,} warnings", facts)


def lengths_table(stats: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the lengths in characters, and in tokens if they were counted."""
    rows = [[f"{name}, characters", *_numbers(facts), ""] for name, facts in stats["characters"].items()]
    for name, facts in stats.get("tokens", {}).items():
        rows.append([f"{name}, tokens", *_numbers(facts), f"{facts['truncated_share']:.1%}"])
    columns = ["texts", "count", "mean", "median", "95 %", "longest", "truncated"]
    return (columns, rows) if "tokens" in stats else (columns[:-1], [row[:-1] for row in rows])


def _numbers(facts: dict[str, float]) -> list[str]:
    return [f"{facts[name]:,}" for name in ("count", "mean", "p50", "p95", "max")]
