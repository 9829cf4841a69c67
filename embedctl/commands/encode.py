"""`embedctl encode`: texts to vectors."""

from __future__ import annotations

import sys
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
    from embedctl.retrieval.encode import Encoder, Tally

EXAMPLE = "Example: embedctl encode --ckpt out -i texts.txt -o vectors.npy"


@takes(EncodeConfig)
def command(config: EncodeConfig) -> None:
    """Turn texts into vectors."""
    path = source_of(config)
    output = output_of(config)
    expect_usable(config, path, output)
    embedder = load(config)
    encoder = encoder_of(config, embedder)
    begun = time.monotonic()
    try:
        tally = run(config, encoder, path, output)
    except OSError as cause:
        message = f"--output {output}: can't be written: {cause.strerror or cause}"
        raise ConfigError(message, "check the folder and the free space") from cause
    report(config, tally, output, config.dim or embedder.dimension, time.monotonic() - begun)


def source_of(config: EncodeConfig) -> str:
    """What is read: the input, or the example shipped in its place."""
    path, shipped = input_or_example(config.input)
    if shipped:
        console.say(f"{config.input} is not in this folder: encoding the example file shipped with embedctl")
    if path == "-" and sys.stdin.isatty():
        console.say("reading texts from the terminal, one a line, until Ctrl-D")
    return path


def output_of(config: EncodeConfig) -> Path:
    """Where the vectors go: by default a .npy file of the input's stem in the working folder."""
    from embedctl.retrieval.sources import COMPRESSED

    if config.output is not None:
        return Path(config.output)
    if config.input == "-":
        return Path("embeddings.npy")
    name = Path(Path(config.input).resolve().name)
    name = name.with_suffix("") if name.suffix in COMPRESSED else name
    return Path(f"{name.name if Path(config.input).is_dir() else name.stem}.npy")


def is_folder(config: EncodeConfig, output: Path) -> bool:
    """Whether the output is a folder of shards: it is one, or its name ends in a slash."""
    return output.is_dir() or (config.output or "").endswith("/")


def expect_usable(config: EncodeConfig, path: str, output: Path) -> None:
    """Find what is wrong before a model is loaded.

    Raises:
        ConfigError: two prompts, an unknown format of the output, or an output that is the input.
        DataError: there is no such input.
    """
    from embedctl.retrieval.sinks import expect_format
    from embedctl.retrieval.sources import read_texts

    if config.prompt is not None and config.prompt_name is not None:
        raise ConfigError("--prompt and --prompt-name exclude each other", "give one of them")
    read_texts(path, config.field)
    if output.exists() and path != "-" and output.samefile(path):
        raise ConfigError(f"--output {output}: is the input", "choose another --output")
    if not is_folder(config, output):
        expect_format(output)
    elif output.is_file():
        raise ConfigError(f"--output {output}/: is a file", "choose another --output")


def load(config: EncodeConfig) -> Embedder:
    """The model.

    Raises:
        ConfigError: it has fewer dimensions than asked for.
        ModelError: it can't be loaded.
    """
    from embedctl.model.embedder import Embedder

    embedder = Embedder.from_pretrained(
        checkpoint_of(config.model.model_name_or_path),
        device=config.device,
        dtype=precision_of(config),
        trust_remote_code=config.model.trust_remote_code,
        max_len=config.max_len,
    )
    if config.dim and config.dim > embedder.dimension:
        raise ConfigError(
            f"--dim {config.dim}: the model has {embedder.dimension} dimensions", "choose a smaller --dim"
        )
    return embedder


def precision_of(config: EncodeConfig) -> str:
    """The type in which the model computes."""
    return "float32" if config.precision == "auto" else config.precision


def encoder_of(config: EncodeConfig, embedder: Embedder) -> Encoder:
    """The model with the way it is asked.

    Raises:
        ModelError: it has no prompt of the name.
    """
    from embedctl.retrieval.encode import Encoder
    from embedctl.retrieval.quantize import Quantizer

    prompt = embedder.prompt_text(config.prompt_name, config.prompt)
    return Encoder(embedder, prompt, config.dim, config.batch_tokens, Quantizer(config.dtype))


def run(config: EncodeConfig, encoder: Encoder, path: str, output: Path) -> Tally:
    """Encode the input to its output."""
    from embedctl.retrieval.shards import Shards
    from embedctl.retrieval.sources import count_texts, read_texts

    texts, total = read_texts(path, config.field), count_texts(path, config.field)
    if not is_folder(config, output):
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
        "dtype": config.dtype,
        "shard_rows": config.shard_rows,
    }


def report(config: EncodeConfig, tally: Tally, output: Path, dim: int, seconds: float) -> None:
    """One line for a person, or the document of `--json`."""
    if tally.empty:
        console.warn(f"{tally.empty:,} of {tally.rows:,} texts are empty; their vectors mean nothing")
    rate = (tally.rows - tally.kept) / max(seconds, 1e-9)
    kept = f", {tally.kept:,} of them there already" if tally.kept else ""
    where = f"{output}/" if output.is_dir() else f"{output}"
    console.say(f"{tally.rows:,} texts{kept}, {dim} dimensions, {config.dtype}, {rate:,.0f} texts/s -> {where}")
    if config.json_output:
        facts = {"output": str(output), "rows": tally.rows, "dim": dim, "dtype": config.dtype}
        console.result({**facts, "seconds": round(seconds, 3)})
