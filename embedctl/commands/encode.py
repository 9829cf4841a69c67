"""`embedctl encode`: texts to vectors."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedctl import console
from embedctl.commands.checkpoints import checkpoint_of
from embedctl.commands.flags import takes
from embedctl.config import EncodeConfig
from embedctl.errors import ConfigError
from embedctl.resources import input_or_example

if TYPE_CHECKING:
    from embedctl.model.embedder import Embedder

EXAMPLE = "Example: embedctl encode --ckpt out -i texts.txt -o vectors.npy"


@takes(EncodeConfig)
def command(config: EncodeConfig) -> None:
    """Turn texts into vectors."""
    from embedctl.retrieval.encode import Encoder
    from embedctl.retrieval.quantize import Quantizer
    from embedctl.retrieval.sinks import SINKS, Shards
    from embedctl.retrieval.sources import read_texts

    path, shipped = input_or_example(config.input)
    if shipped:
        console.say(f"{config.input} is not in this folder: encoding the example file shipped with embedctl")
    texts = read_texts(path, config.field)
    output, folder = output_of(config)
    if not folder and output.suffix not in SINKS:
        raise ConfigError(
            f"--output {output}: the suffix is none of {', '.join(SINKS)}", "a folder for shards ends in /"
        )
    embedder = load(config)
    encoder = Encoder(embedder, prompt_of(config, embedder), config.dim, config.batch_tokens, Quantizer(config.dtype))
    begun = time.monotonic()
    if folder:
        shards = Shards(output, recipe_of(config, embedder, encoder.prompt), overwrite=config.overwrite)
        rows = encoder.to_shards(texts, shards, config.shard_rows)
    else:
        rows = encoder.to_file(texts, output)
    seconds = time.monotonic() - begun
    dim = config.dim or embedder.dimension
    console.say(
        f"{rows:,} texts, {dim} dimensions, {config.dtype}, {rows / max(seconds, 1e-9):,.0f} texts/s -> {output}"
    )
    if config.json_output:
        facts = {"output": str(output), "rows": rows, "dim": dim, "dtype": config.dtype, "seconds": round(seconds, 3)}
        console.result(facts)


def output_of(config: EncodeConfig) -> tuple[Path, bool]:
    """Where the vectors go, and whether that is a folder of shards."""
    if config.output is None:
        stem = "embeddings" if config.input == "-" else Path(config.input).name.split(".")[0]
        return Path(f"{stem}.npy"), False
    return Path(config.output), config.output.endswith("/") or Path(config.output).is_dir()


def load(config: EncodeConfig) -> Embedder:
    """The model.

    Raises:
        ConfigError: it has fewer dimensions than asked for.
        ModelError: it can't be loaded.
    """
    from embedctl.model.embedder import Embedder

    dtype = "float32" if config.precision == "auto" else config.precision
    embedder = Embedder.from_pretrained(
        checkpoint_of(config.model.model_name_or_path),
        device=config.device,
        dtype=dtype,
        trust_remote_code=config.model.trust_remote_code,
        max_len=config.max_len,
    )
    if config.dim and config.dim > embedder.dimension:
        raise ConfigError(
            f"--dim {config.dim}: the model has {embedder.dimension} dimensions", "choose a smaller --dim"
        )
    return embedder


def prompt_of(config: EncodeConfig, embedder: Embedder) -> str:
    """What is put before each text.

    Raises:
        ConfigError: two prompts were given.
        ModelError: the model has no prompt of the name.
    """
    if config.prompt is not None and config.prompt_name is not None:
        raise ConfigError("--prompt and --prompt-name exclude each other", "give one of them")
    return embedder.prompt_text(config.prompt_name, config.prompt)


def recipe_of(config: EncodeConfig, embedder: Embedder, prompt: str) -> dict[str, Any]:
    """What the vectors follow from, for the manifest."""
    return {
        "input": str(Path(config.input).resolve()),
        "field": config.field,
        "model": embedder.weights_hash(),
        "prompt": prompt,
        "max_len": embedder.max_len,
        "dim": config.dim or embedder.dimension,
        "dtype": config.dtype,
        "shard_rows": config.shard_rows,
    }
