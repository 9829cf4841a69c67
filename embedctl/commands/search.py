"""`embedctl search`: print the texts of an index that are most similar to a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedctl import console
from embedctl.commands.flags import with_options
from embedctl.config import SearchConfig
from embedctl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder

EXAMPLES = r"""
# Search the index that `embedctl encode --index flat` writes by default.
embedctl search "how deep is the sea"

# Print the 3 best results for each query of a file as JSON.
embedctl search --index corpus.npy -i queries.txt -k 3 --json
"""
MAX_CHARACTERS = 300  # per text in the table


@with_options(SearchConfig)
def command(config: SearchConfig) -> None:
    """Find the texts of an index that are most similar to a query.

    The input is an index of `embedctl encode --index` and one or more queries. The output is a table per query with the
    most similar texts and their scores, by the similarity function of the model.
    """
    from embedctl.search.index_folder import TextIndex

    queries = read_queries(config)
    index = TextIndex.open(config.index)
    model, trusted = config.model.model_name_or_path, config.model.trust_remote_code
    embedder = index.load_model(model, device=config.device, trust_remote_code=trusted)
    vectors = embedder.encode(queries, prompt=query_prompt(config, embedder), kind="query", dim=index.manifest["dim"])
    results = index.search(vectors, config.k)
    print_results(queries, results, index.similarity.name, is_result=not config.json_output)
    if config.json_output:
        by_query = [{"query": query, "hits": found} for query, found in zip(queries, results, strict=True)]
        console.result({"index": str(index.folder), "rows": index.manifest["rows"], "results": by_query})


def read_queries(config: SearchConfig) -> list[str]:
    """Return the queries from the command line or from a file.

    Raises:
        ConfigError: neither or both are given, or two prompts are given.
        DataError: the file contains no text.
    """
    from embedctl.reading.readers import read_texts

    if config.prompt is not None and config.prompt_name is not None:
        raise ConfigError("--prompt and --prompt-name cannot be combined", "remove one of them")
    if bool(config.texts) == (config.input is not None):
        hint = 'run, for example, `embedctl search --index texts.npy "how deep is the sea"`'
        raise ConfigError("queries must be given either as arguments or with --input", hint)
    queries = list(config.texts if config.input is None else read_texts(config.input, config.field))
    if not queries:
        raise DataError(f"{config.input}: the file contains no text", "give a file with at least one text with --input")
    return queries


def query_prompt(config: SearchConfig, embedder: Embedder) -> str:
    """Return the prompt to prepend to each query; without prompt options, the model's own query prompt."""
    if config.prompt is None and config.prompt_name is None:
        return embedder.prompt_for("query")
    return embedder.resolve_prompt(config.prompt_name, config.prompt)


def print_results(queries: list[str], results: list[list[dict[str, Any]]], similarity: str, *, is_result: bool) -> None:
    """Print one table of search results per query, to stdout or, beside the result of --json, to stderr.

    `similarity` is the name of the similarity function.
    """
    for query, found in zip(queries, results, strict=True):
        rows = [[one_line(one["text"]), f"{one['score']:.4f}", f"{one['row']:,}"] for one in found]
        console.table(one_line(query), ["text", similarity, "row (from 0)"], rows, is_result=is_result)


def one_line(text: str) -> str:
    """Return the text on one line, truncated to `MAX_CHARACTERS`."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_CHARACTERS else line[:MAX_CHARACTERS] + "…"
