"""`embedctl validate-data`: check training files for errors and print statistics of their rows and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich.table import Table

from embedctl import console
from embedctl.commands.flags import with_options
from embedctl.config import TINY, ValidateConfig
from embedctl.errors import CheckFailed, ConfigError
from embedctl.resources import display_path, input_or_example

if TYPE_CHECKING:
    from embedctl.data.statistics import TokenCounter
    from embedctl.data.validate import Report, ReportStats

EXAMPLES = r"""
# Check the example file that is shipped with embedctl.
embedctl validate-data file.json

# Check two files, and count tokens with the tokenizer of a model.
embedctl validate-data train.jsonl eval.jsonl --model BAAI/bge-base-zh-v1.5
"""
COLOURS: dict[Literal["errors", "warnings"], str] = {"errors": "red", "warnings": "yellow"}
LengthKey = Literal["count", "mean", "p50", "p95", "max"]
LENGTH_COLUMNS: dict[LengthKey, str] = {"count": "texts", "mean": "mean", "p50": "median", "p95": "p95", "max": "max"}


@with_options(ValidateConfig)
def command(config: ValidateConfig) -> None:
    """Check files of training rows, and report errors, text lengths and statistics.

    The input is one or more files of rows, which are not changed. Errors and warnings are printed with their lines, and
    the exit code is 1 if there are errors.
    """
    if not config.files:
        raise ConfigError("no file given", "give at least one file, for example `embedctl validate-data train.jsonl`")
    from embedctl.data.validate import MEGABYTE, validate
    from embedctl.reading.files import known_size

    paths = [resolve_path(name) for name in config.files]
    sizes = [known_size(path) for path in paths]  # finds a missing file before the others are read
    tokens = token_counter(config)
    reports = []
    for path, size in zip(paths, sizes, strict=True):
        megabytes = None if size is None else -(-size // MEGABYTE)  # rounded up
        with console.progress(f"check {display_path(path)}", megabytes, "MB") as bar:
            reports.append(validate(path, config.neg_nums, config.max_errors, tokens, bar))
        if not config.json_output:
            print_findings(reports[-1])
        print_report(reports[-1])
    errors = sum(report["stats"]["errors"] for report in reports)
    if config.json_output:
        console.result({"ok": errors == 0, "files": reports})
    if errors:
        message = f"{console.plural(errors, 'error')} in {console.plural(len(reports), 'file')}"
        raise CheckFailed(message, "fix the lines listed above and run the command again")


def resolve_path(name: str) -> str:
    """Return the file to check: `name`, or the example file with this name if there is no such file."""
    path, is_example = input_or_example(name)
    if is_example:
        console.info(f"{name} does not exist in this folder; checking the example file shipped with embedctl")
    return path


def token_counter(config: ValidateConfig) -> TokenCounter | None:
    """Return a counter with the tokenizer of the model, or None without a model.

    Raises:
        ConfigError: the model is the built-in one, whose tokenizer is created by training, or a given length is above
            the number of the model's positions.
        ModelError: the tokenizer cannot be loaded.
    """
    if config.model_name_or_path is None:
        return None
    if config.model_name_or_path == TINY:
        hint = "give a pretrained model, or the output folder of `embedctl train`"
        raise ConfigError("--model tiny has no tokenizer before training", hint)
    from embedctl.data.statistics import TokenCounter
    from embedctl.model.lengths import UNLIMITED, choose_length, read_length_limits
    from embedctl.model.loading import load_tokenizer
    from embedctl.tokens.tokenize import tokenize

    model = config.model_name_or_path
    tokenizer = load_tokenizer(model)
    stated = read_length_limits(model, tokenizer)
    query = choose_length("query", config.query_max_len, stated["query"], model) or UNLIMITED
    passage = choose_length("passage", config.passage_max_len, stated["passage"], model) or UNLIMITED
    limits = {"query": query, "pos": passage, "neg": passage}

    def _count(texts: list[str]) -> tuple[list[int], int]:
        tokens = tokenize(tokenizer, texts, None)
        unknown = int((tokens.ids == tokenizer.unk_token_id).sum()) if tokenizer.unk_token_id is not None else 0
        return tokens.lengths.tolist(), unknown

    return TokenCounter(_count, limits)


def print_findings(report: Report) -> None:
    """Print the listed errors and warnings to stdout, one per line."""
    for severity in COLOURS:
        for finding in report[severity]:
            location = f"{report['path']}:{finding['line']}: {finding['field']}"
            others = finding.get("rows", 1) - 1
            more = f" (also {console.plural(others, 'other row')})" if others else ""
            console.output(f"{location}: {finding['message']}{more} [{finding['code']}]")
        unlisted = report["stats"][severity] - sum(finding.get("rows", 1) for finding in report[severity])
        if unlisted:
            more = console.plural(unlisted, f"more {severity.removesuffix('s')}")
            console.output(f"{report['path']}: {more} not listed; raise --max-errors to list more")


def print_report(report: Report) -> None:
    """Print the panel of one file (rows, problems, text lengths) and the line with its number of problems."""
    stats = report["stats"]
    colour = next((colour for severity, colour in COLOURS.items() if stats[severity]), "green")
    name = display_path(report["path"])
    lengths = ("", lengths_table(stats)) if report["rows"] else ()
    console.panel(name, panel_rows(report), *lengths, border=colour)
    console.info(f"{name}: {problem_counts(stats)}", colour)


def problem_counts(stats: ReportStats) -> str:
    """Return a text with the numbers of errors and warnings. Without errors, it begins with `ok`."""
    counts = [console.plural(stats[severity], severity.removesuffix("s")) for severity in COLOURS if stats[severity]]
    return ", ".join(counts if stats["errors"] else ["ok", *counts])


def panel_rows(report: Report) -> dict[str, str]:
    """Return names and values of the panel of a file, without the text lengths."""
    from embedctl.data.rows import format_kinds

    stats = report["stats"]
    kinds = format_kinds(report["kinds"])
    facts = {"rows": f"{report['rows']:,}" + (f" ({kinds})" if kinds else "")}
    if stats["prompted"]:
        facts["rows with a prompt"] = f"{stats['prompted']:,}"
    queries = console.plural(stats["duplicate_queries"], "query", "queries")
    passages = console.plural(stats["duplicate_texts"], "passage")
    facts["duplicates"] = f"{queries} and {passages} that also occur earlier in the file"
    for severity, counts in (("errors", stats["error_counts"]), ("warnings", stats["warning_counts"])):
        width = max((len(f"{count:,}") for count in counts.values()), default=0)
        facts[severity] = "\n".join(f"{count:{width},} {code}" for code, count in counts.items() if count) or "none"
    return facts


def lengths_table(stats: ReportStats) -> Table:
    """Return a table of the text lengths per field, in characters and, if counted, in tokens."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("length")
    for heading in (*LENGTH_COLUMNS.values(), *(["truncated", "unknown"] if "tokens" in stats else [])):
        table.add_column(heading, justify="right")
    for unit, summaries in (("characters", stats["characters"]), ("tokens", stats.get("tokens", {}))):
        for name, summary in summaries.items():
            numbers = [f"{summary[key]:,}" for key in LENGTH_COLUMNS]
            shares = [f"{summary[key]:.1%}" for key in ("truncated_share", "unknown_share")] if unit == "tokens" else []
            table.add_row(f"{name}, {unit}", *numbers, *shares)
    return table
