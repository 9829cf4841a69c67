"""`embedctl search`: the texts of an index that are nearest to a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedctl import console
from embedctl.commands.flags import with_options
from embedctl.config import SearchConfig
from embedctl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder

EXAMPLE = 'Example: embedctl search --index vectors.npy "how deep is the sea"'
SHOWN_CHARACTERS = 300


@with_options(SearchConfig)
def command(config: SearchConfig) -> None:
    """Show the texts of an index that are nearest to a text."""
    from embedctl.search.index_folder import TextIndex

    queries = queries_of(config)
    index = TextIndex.open(config.index)
    named, trusted = config.model.model_name_or_path, config.model.trust_remote_code
    embedder = index.load_model(named, device=config.device, trust_remote_code=trusted)
    vectors = embedder.encode(queries, prompt=prompt_of(config, embedder), dim=index.manifest["dim"])
    hits = index.search(vectors, config.k)
    show(queries, hits)
    if config.json_output:
        results = [{"query": query, "hits": found} for query, found in zip(queries, hits, strict=True)]
        console.result({"index": str(index.folder), "rows": index.manifest["rows"], "results": results})


def queries_of(config: SearchConfig) -> list[str]:
    """The texts to look for, from the command line or a file.

    Raises:
        ConfigError: neither or both are given, or two prompts.
        DataError: the file holds none.
    """
    from embedctl.reading.readers import read_texts

    if config.prompt is not None and config.prompt_name is not None:
        raise ConfigError("--prompt and --prompt-name exclude each other", "give one of them")
    if bool(config.texts) == (config.input is not None):
        raise ConfigError("give the text to look for, or a file of them with -i", EXAMPLE)
    queries = list(config.texts if config.input is None else read_texts(config.input, config.field))
    if not queries:
        raise DataError(f"{config.input}: holds no text", "check --input")
    return queries


def prompt_of(config: SearchConfig, embedder: Embedder) -> str:
    """What is prepended to each text to look for: the model's query prompt where none is given.

    Raises:
        ModelError: the model has no prompt of the name.
    """
    if config.prompt is None and config.prompt_name is None:
        return embedder.prompt_for("query")
    return embedder.resolve_prompt(config.prompt_name, config.prompt)


def show(queries: list[str], hits: list[list[dict[str, Any]]]) -> None:
    """Print a table of the hits for each query."""
    for query, found in zip(queries, hits, strict=True):
        rows = [[shown(hit["text"]), f"{hit['score']:.4f}", f"{hit['row']:,}"] for hit in found]
        console.table(shown(query), ["text", "cosine", "row"], rows)


def shown(text: str) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "…"
