"""One job of encoding as its configuration describes it: the model, the way it is asked, the output and its index."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedctl import console
from embedctl.config import EncodeConfig
from embedctl.distributed.ranks import is_main
from embedctl.encoding.encoder import Encoder, Tally
from embedctl.errors import ConfigError
from embedctl.files import replacing_folder
from embedctl.model.embedder import Embedder
from embedctl.model.onnx import RUNTIMES, use_backend
from embedctl.reading.texts import count_texts, read_texts
from embedctl.resources import cache_folder
from embedctl.search.index_folder import index_beside, write_index
from embedctl.storage.quantization import Quantizer
from embedctl.storage.shards import Shards
from embedctl.storage.textmap import recorded


def encode_all(config: EncodeConfig) -> None:
    """Encode the input to its output, then say what was done; `config` names model, input and output.

    With several ranks each of them calls this; the first one writes the index and speaks.

    Raises:
        ConfigError: the model has too few dimensions, or the output can't be written or is another's.
        DataError: something in the input is no text.
        ModelError: the model can't be loaded, or gives a vector that is not finite.
    """
    embedder = load(config)
    encoder = encoder_of(config, embedder)
    begun = time.monotonic()
    try:
        tally, index = run(config, encoder)
    except OSError as cause:
        message = f"--output {config.output}: can't be written: {cause.strerror or cause}"
        raise ConfigError(message, "check the folder and the free space") from cause
    if is_main():
        report(config, tally, index, encoder.dim or embedder.dimension, time.monotonic() - begun)


def load(config: EncodeConfig) -> Embedder:
    """The model.

    Raises:
        ConfigError: it has fewer dimensions than asked for.
        ModelError: it can't be loaded.
    """
    embedder = Embedder.from_pretrained(
        str(config.model.model_name_or_path),
        device="cpu" if config.backend in RUNTIMES else config.device,
        dtype=precision_of(config),
        trust_remote_code=config.model.trust_remote_code,
        max_len=config.max_len,
    )
    if config.dim and config.dim > embedder.dimension:
        raise ConfigError(
            f"--dim {config.dim}: the model has {embedder.dimension} dimensions", "choose a smaller --dim"
        )
    if config.backend in RUNTIMES:
        use_backend(embedder, config.backend, cache_folder("onnx"))
    return embedder


def precision_of(config: EncodeConfig) -> str:
    """The type in which the model computes."""
    return "float32" if config.precision == "auto" else config.precision


def encoder_of(config: EncodeConfig, embedder: Embedder) -> Encoder:
    """The model with the way it is asked.

    Raises:
        ModelError: it has no prompt of the name.
    """
    prompt = embedder.prompt_text(config.prompt_name, config.prompt)
    return Encoder(embedder, prompt, config.dim, config.batch_tokens, Quantizer(config.dtype))


def run(config: EncodeConfig, encoder: Encoder) -> tuple[Tally, dict[str, Any] | None]:
    """Encode the input to its output, and give what was counted and the manifest of the index, if one was asked for."""
    texts, total = read_texts(config.input, config.field), count_texts(config.input, config.field)
    if config.index is None or not is_main():
        return encode(config, encoder, texts, total), None
    output = Path(config.output or "")
    with replacing_folder(index_beside(output)) as draft:
        tally = encode(config, encoder, recorded(texts, draft), total)
        made = recipe_of(config, encoder) | {"name": absolute(str(config.model.model_name_or_path))}
        return tally, write_index(draft, output, config.index, made)


def encode(config: EncodeConfig, encoder: Encoder, texts: Iterator[str], total: int | None) -> Tally:
    """Encode texts to the output; with several ranks, to those shards of it that are this one's."""
    output = Path(config.output or "")
    if not config.writes_folder:
        return encoder.to_file(texts, output, total)
    shards = Shards(output, recipe_of(config, encoder), overwrite=config.overwrite)
    return encoder.to_shards(texts, shards, config.shard_rows, total)


def recipe_of(config: EncodeConfig, encoder: Encoder) -> dict[str, Any]:
    """What the vectors follow from beside the texts, for the manifest."""
    return {
        "model": encoder.embedder.weights_hash(),
        "prompt": encoder.prompt,
        "max_len": encoder.embedder.max_len,
        "dim": config.dim or encoder.embedder.dimension,
        "precision": precision_of(config),
        "backend": config.backend,
        "dtype": config.dtype,
        "shard_rows": config.shard_rows,
    }


def absolute(model: str) -> str:
    """A model's name by which it is found from any folder."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def report(config: EncodeConfig, tally: Tally, index: dict[str, Any] | None, dim: int, seconds: float) -> None:
    """A line or two for a person, or the document of `--json`."""
    if tally.empty:
        console.warn(f"{tally.empty:,} of {tally.rows:,} texts are empty; their vectors mean nothing")
    output = Path(config.output or "")
    rate = (tally.rows - tally.kept) / max(seconds, 1e-9)
    kept = f", {tally.kept:,} of them there already" if tally.kept else ""
    where = f"{output}/" if output.is_dir() else f"{output}"
    console.say(f"{tally.rows:,} texts{kept}, {dim} dimensions, {config.dtype}, {rate:,.0f} texts/s -> {where}")
    facts = {"output": str(output), "rows": tally.rows, "dim": dim, "dtype": config.dtype}
    if index is not None:
        beside = index_beside(output)
        found = "" if config.index == "flat" else f", finds {index['recall']:.1%} of the exact 10 nearest"
        console.say(f'{config.index} index{found} -> {beside}/; look: embedctl search --index {output} "some text"')
        facts |= {"index": str(beside), "recall": index["recall"]}
    if config.json_output:
        console.result({**facts, "seconds": round(seconds, 3)})
