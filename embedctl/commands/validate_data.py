"""`embedctl validate-data`: whether data files hold what their owner thinks they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from embedctl import console
from embedctl.commands.flags import with_options
from embedctl.config import TINY, ValidateConfig
from embedctl.errors import CheckFailed, ConfigError
from embedctl.resources import input_or_example, shown

if TYPE_CHECKING:
    from embedctl.data.statistics import TokenCount

EXAMPLE = "Example: embedctl validate-data train.jsonl --model BAAI/bge-base-zh-v1.5"
STYLES = {"errors": "red", "warnings": "yellow"}
NUMBERS = {"count": "texts", "mean": "mean", "p50": "median", "p95": "95 %", "max": "longest"}


@with_options(ValidateConfig)
def command(config: ValidateConfig) -> None:
    """Check data files and show what is in them."""
    if not config.files:
        raise ConfigError("no file given", "embedctl validate-data FILE...")
    from embedctl.data.validate import MEGABYTE, validate
    from embedctl.reading.files import size_to_read

    paths = [path_of(name) for name in config.files]
    sizes = [size_to_read(path) for path in paths]  # a missing file is said before hours go into the others
    tokens = token_count(config)
    reports = []
    for path, size in zip(paths, sizes, strict=True):
        megabytes = None if size is None else -(-size // MEGABYTE)  # rounded up
        with console.progress(f"check {shown(path)}", megabytes, "MB") as bar:
            reports.append(validate(path, config.neg_nums, config.max_errors, tokens, bar))
        if not config.json_output:
            print_findings(reports[-1])
        show(reports[-1])
    errors = sum(report["stats"]["errors"] for report in reports)
    if config.json_output:
        console.result({"ok": errors == 0, "files": reports})
    if errors:
        raise CheckFailed(
            f"{_number(errors, 'error')} in {_number(len(reports), 'file')}", "mend the lines named above"
        )


def path_of(name: str) -> str:
    """The file to check: as named, or the shipped example of that name."""
    path, shipped = input_or_example(name)
    if shipped:
        console.info(f"{name} is not in this folder: checking the example file shipped with embedctl")
    return path


def token_count(config: ValidateConfig) -> TokenCount | None:
    """Counts tokens with the model's tokenizer, if one was named.

    Raises:
        ConfigError: the built-in model has no tokenizer before it is trained.
        ModelError: there is no such tokenizer.
    """
    if config.model_name_or_path is None:
        return None
    if config.model_name_or_path == TINY:
        hint = "name a pretrained model, or a trained one such as out"
        raise ConfigError("--model tiny: has no tokenizer before it is trained", hint)
    from embedctl.data.statistics import TokenCount
    from embedctl.model.loading import load_tokenizer
    from embedctl.tokens.tokenize import tokenize

    tokenizer = load_tokenizer(config.model_name_or_path)
    limits = {"query": config.query_max_len, "pos": config.passage_max_len, "neg": config.passage_max_len}
    return TokenCount(lambda texts: tokenize(tokenizer, texts, None).lengths.tolist(), limits)


def print_findings(report: dict[str, Any]) -> None:
    """The listed errors and warnings, one a line, to stdout."""
    for severity in STYLES:
        for found in report[severity]:
            place = f"{report['path']}:{found['line']}: {found['field']}"
            print(f"{place}: {found['message']} [{found['code']}]")
        left_out = report["stats"][severity] - len(report[severity])
        if left_out:
            print(f"{report['path']}: {left_out:,} more {severity} (--max-errors lists more)")


def show(report: dict[str, Any]) -> None:
    """Draw one file's report: what it holds, how long its texts are, what was found."""
    stats = report["stats"]
    colour = next((style for severity, style in STYLES.items() if stats[severity]), "green")
    name = shown(report["path"])
    lengths = ("", lengths_table(stats)) if report["rows"] else ()
    console.panel(name, facts_of(report), *lengths, border=colour)
    console.info(f"{name}: {verdict_of(stats)}", colour)


def verdict_of(stats: dict[str, Any]) -> str:
    """`ok`, or how many errors and warnings."""
    counts = [_number(stats[severity], severity.removesuffix("s")) for severity in STYLES if stats[severity]]
    return ", ".join(counts if stats["errors"] else ["ok", *counts])


def facts_of(report: dict[str, Any]) -> dict[str, str]:
    """Name and value of what is known about a file beside lengths."""
    stats = report["stats"]
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report["kinds"].items())
    facts = {"rows": f"{report['rows']:,}" + (f" ({kinds})" if kinds else "")}
    if stats["prompted"]:
        facts["own prompt"] = _number(stats["prompted"], "row")
    facts["repeated"] = (
        f"{_number(stats['duplicate_queries'], 'query', 'queries')}, {_number(stats['duplicate_texts'], 'passage')}"
    )
    for severity in STYLES:
        counts = stats[f"{severity.removesuffix('s')}_counts"]
        width = max((len(f"{count:,}") for count in counts.values()), default=0)
        facts[severity] = "\n".join(f"{count:{width},} {code}" for code, count in counts.items() if count) or "none"
    return facts


def lengths_table(stats: dict[str, Any]) -> Table:
    """Lengths of each field in characters, and in tokens if they were counted."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("length")
    for heading in (*NUMBERS.values(), *(["truncated"] if "tokens" in stats else [])):
        table.add_column(heading, justify="right")
    for unit in ("characters", "tokens"):
        for name, facts in stats.get(unit, {}).items():
            numbers = [f"{facts[key]:,}" for key in NUMBERS]
            truncated = [f"{facts['truncated_share']:.1%}"] if unit == "tokens" else []
            table.add_row(f"{name}, {unit}", *numbers, *truncated)
    return table


def _number(count: int, name: str, plural: str = "") -> str:
    return f"{count:,} {name if count == 1 else plural or name + 's'}"
