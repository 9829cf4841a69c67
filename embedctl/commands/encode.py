"""`embedctl encode`: texts to vectors."""

from __future__ import annotations

import sys
from pathlib import Path

from embedctl import console
from embedctl.commands.checkpoints import checkpoint_of
from embedctl.commands.flags import takes
from embedctl.config import EncodeConfig
from embedctl.errors import ConfigError
from embedctl.resources import input_or_example

EXAMPLE = "Example: embedctl encode --ckpt out -i texts.txt -o vectors.npy"


@takes(EncodeConfig)
def command(config: EncodeConfig) -> None:
    """Turn texts into vectors."""
    config = with_paths(config)
    expect_usable(config)
    config = with_model(config)
    if config.num_processes > 1:
        from embedctl.encoding.launch import exec_shim

        exec_shim(config)
    from embedctl.encoding.job import encode_all

    encode_all(config)


def with_paths(config: EncodeConfig) -> EncodeConfig:
    """The configuration with the input that is read and the output that is written."""
    return config.model_copy(update={"input": source_of(config), "output": output_of(config)})


def with_model(config: EncodeConfig) -> EncodeConfig:
    """The configuration with the model that `--ckpt` means.

    Raises:
        ModelError: there is none.
    """
    named = {"model_name_or_path": checkpoint_of(config.model.model_name_or_path)}
    return config.model_copy(update={"model": config.model.model_copy(update=named)})


def source_of(config: EncodeConfig) -> str:
    """What is read: the input, or the example shipped in its place."""
    path, shipped = input_or_example(config.input)
    if shipped:
        console.say(f"{config.input} is not in this folder: encoding the example file shipped with embedctl")
    if path == "-" and sys.stdin.isatty():
        console.say("reading texts from the terminal, one a line, until Ctrl-D")
    return path


def output_of(config: EncodeConfig) -> str:
    """Where the vectors go: by default a .npy file of the input's stem in the working folder."""
    from embedctl.reading.texts import COMPRESSED

    if config.output is not None:
        return config.output
    if config.input == "-":
        return "embeddings.npy"
    name = Path(Path(config.input).resolve().name)
    name = name.with_suffix("") if name.suffix in COMPRESSED else name
    return f"{name.name if Path(config.input).is_dir() else name.stem}.npy"


def expect_usable(config: EncodeConfig) -> None:
    """Find what is wrong before a model is loaded.

    Raises:
        ConfigError: two prompts, an unknown format of the output, an output that is the input, or one that can't have
            an index, or a backend that can't be used.
        DataError: there is no such input.
    """
    from embedctl.reading.texts import read_texts
    from embedctl.storage.writers import expect_format

    output = Path(config.output or "")
    if config.prompt is not None and config.prompt_name is not None:
        raise ConfigError("--prompt and --prompt-name exclude each other", "give one of them")
    read_texts(config.input, config.field)
    if output.exists() and config.input != "-" and output.samefile(config.input):
        raise ConfigError(f"--output {output}: is the input", "choose another --output")
    if not config.writes_folder:
        expect_format(output)
    elif output.is_file():
        raise ConfigError(f"--output {output}/: is a file", "choose another --output")
    if config.backend != "torch":
        expect_backend(config)
    if config.num_processes > 1:
        expect_shareable(config)
    if config.index is not None:
        expect_indexable(config, output)


def expect_backend(config: EncodeConfig) -> None:
    """Check that a backend other than torch can be used.

    Raises:
        ConfigError: its packages are not installed, or it is asked for another device or type.
    """
    from embedctl.model.onnx import expect_installed

    if config.device not in (None, "cpu"):
        raise ConfigError(f"--backend {config.backend}: computes on the CPU, not on {config.device}", "--device cpu")
    if config.precision not in ("auto", "float32"):
        raise ConfigError(f"--backend {config.backend}: computes in float32", "leave --precision out")
    expect_installed(config.backend)


def expect_shareable(config: EncodeConfig) -> None:
    """Check that several processes can share the work.

    Raises:
        ConfigError: the output is one file, or the input can be read once only.
    """
    many = f"--num-processes {config.num_processes}"
    if not config.writes_folder:
        folder = Path(config.output or "").with_suffix("")
        raise ConfigError(f"{many}: each writes shards of its own, and {config.output} is one file", f"-o {folder}/")
    if config.input == "-" or not (Path(config.input).is_file() or Path(config.input).is_dir()):
        raise ConfigError(f"{many}: each reads the input, and a pipe can be read once", "write the texts to a file")


def expect_indexable(config: EncodeConfig, output: Path) -> None:
    """Check that vectors of this output and type can have an index.

    Raises:
        ConfigError: they can't.
    """
    from embedctl.search.index_folder import expect_replaceable, index_beside

    if output.suffix in (".jsonl", ".parquet") and not output.is_dir():
        raise ConfigError(f"--index: needs numbers in .npy files, not {output.name}", "use -o NAME.npy or a folder/")
    if config.dtype == "binary":
        raise ConfigError("--index: compares by cosine, which bits do not give", "use --dtype int8 or float16")
    expect_replaceable(index_beside(output))
