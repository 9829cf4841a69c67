"""`embedctl search`: the texts of an index that are nearest to a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedctl import console
from embedctl.commands.flags import takes
from embedctl.config import SearchConfig
from embedctl.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder

EXAMPLE = 'Example: embedctl search --index vectors.npy "how deep is the sea"'
SHOWN_CHARACTERS = 300


@takes(SearchConfig)
def command(config: SearchConfig) -> None:
    """Show the texts of an index that are nearest to a text."""
    from embedctl.search.index_folder import find_index

    queries = queries_of(config)
    folder, manifest = find_index(config.index)
    embedder = load(config, manifest)
    hits = look_up(config, folder, manifest, embedder, queries)
    for query, found in zip(queries, hits, strict=True):
        rows = [[shown(hit["text"]), f"{hit['score']:.4f}", f"{hit['row']:,}"] for hit in found]
        console.table(shown(query), ["text", "cosine", "row"], rows)
    if config.json_output:
        results = [{"query": query, "hits": found} for query, found in zip(queries, hits, strict=True)]
        console.result({"index": str(folder), "rows": manifest["rows"], "results": results})


def queries_of(config: SearchConfig) -> list[str]:
    """The texts to look for, from the command line or a file.

    Raises:
        ConfigError: neither or both are given, or two prompts.
        DataError: the file holds none.
    """
    from embedctl.reading.texts import read_texts

    if config.prompt is not None and config.prompt_name is not None:
        raise ConfigError("--prompt and --prompt-name exclude each other", "give one of them")
    if bool(config.texts) == (config.input is not None):
        raise ConfigError("give the text to look for, or a file of them with -i", EXAMPLE)
    queries = list(config.texts) or list(read_texts(config.input or "", config.field))
    if not queries:
        raise DataError(f"{config.input}: holds no text", "check --input")
    return queries


def load(config: SearchConfig, manifest: dict[str, Any]) -> Embedder:
    """The model of the index.

    Raises:
        ConfigError: the model's weights are not those that made the index.
        ModelError: it can't be loaded.
    """
    from embedctl.model.embedder import Embedder

    asked = config.model.model_name_or_path
    name = asked or manifest["name"]
    try:
        embedder = Embedder.from_pretrained(
            name,
            device=config.device,
            dtype=manifest["precision"],
            trust_remote_code=config.model.trust_remote_code,
            max_len=manifest["max_len"],
        )
    except ModelError as missing:
        if asked is None:
            message = f"the model that made the index can't be used: {missing.message}"
            raise ModelError(message, "name it with --ckpt") from missing
        raise
    if embedder.weights_hash() != manifest["model"]:
        raise ConfigError(
            f"--ckpt {name}: is not the model that made the index: other weights"
            + ("" if asked else "; the folder has changed since"),
            f"encode the texts again with it and --index, or name the model that {manifest['name']} was",
        )
    return embedder


def look_up(
    config: SearchConfig, folder: Path, manifest: dict[str, Any], embedder: Embedder, queries: list[str]
) -> list[list[dict[str, Any]]]:
    """The hits of each query, nearest first: row, score and text."""
    from embedctl.search.faiss_index import nearest, read
    from embedctl.search.index_folder import FAISS
    from embedctl.search.vectors import unit
    from embedctl.storage.textmap import TextMap

    named = config.prompt_name is not None or config.prompt is not None
    prompt = embedder.prompt_text(config.prompt_name, config.prompt) if named else embedder.own_prompt("query")
    vectors = unit(embedder.encode(queries, prompt=prompt, dim=manifest["dim"]))
    scores, rows = nearest(read(folder / FAISS), vectors, config.k)
    texts = TextMap(folder)
    return [
        [
            {"row": int(row), "score": round(float(score), 6), "text": texts[row]}
            for score, row in zip(*pair, strict=True)
            if row >= 0
        ]
        for pair in zip(scores, rows, strict=True)
    ]


def shown(text: str) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "…"
