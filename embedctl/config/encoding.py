"""The options of encode and search: texts to vectors, and the nearest of them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from embedctl.config.base import Command, Device, ModelSection, Strings, option


class EncodeConfig(Command):
    """`embedctl encode`."""

    name: ClassVar[str] = "encode"

    model: ModelSection = ModelSection()
    input: str = option("texts.txt", "Input", ".txt, .jsonl, .json, .csv, .parquet, or - for stdin", "-i", min_length=1)
    output: str | None = option(
        None, "Output", ".npy, .jsonl, .parquet or a folder/; the input's stem with .npy by default", "-o"
    )
    field: str = option("text", "Input", "the key of an object that holds the text")
    prompt_name: str | None = option(None, "Input", "one of the model's prompts, e.g. query")
    prompt: str | None = option(None, "Input", "put before each text")
    dim: int | None = option(None, "Output", "keep the leading dimensions and normalise again", gt=0)
    dtype: Literal["float32", "float16", "int8", "binary"] = option("float32", "Output", "type of the stored numbers")
    max_len: int | None = option(None, "Input", "tokens of a text; the model's own by default", ge=4)
    batch_tokens: int | None = option(None, "Machine", "tokens in one pass through the model", gt=0)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "Machine", "compute type; auto: float32"
    )
    backend: Literal["torch", "onnx", "openvino"] = option(
        "torch", "Machine", "what computes the transformer; onnx, openvino: on the CPU, extras of the same names"
    )
    shard_rows: int = option(100_000, "Output", "rows of a file when the output is a folder", gt=0)
    index: Literal["flat", "hnsw", "ivf"] | None = option(
        None, "Output", "also write OUTPUT.index/ to search in: flat is exact, hnsw and ivf are fast"
    )
    overwrite: bool = option(False, "Output", "replace the output")
    num_processes: int = option(1, "Machine", "processes that share the shards of a folder, one a GPU", gt=0)
    device: Device = None

    @property
    def writes_folder(self) -> bool:
        """Whether the output is a folder of shards: it is one, or its name ends in a slash."""
        return self.output is not None and (self.output.endswith("/") or Path(self.output).is_dir())

    @property
    def after_interrupt(self) -> str:
        """See `Command`."""
        if not self.writes_folder:
            return "nothing is kept; with -o FOLDER/ the same command could go on"
        same = "the same command without --overwrite" if self.overwrite else "the same command"
        return f"{same} goes on with the next shard"


class SearchConfig(Command):
    """`embedctl search`."""

    name: ClassVar[str] = "search"

    model: ModelSection = ModelSection()
    texts: Strings = option((), "Input", "what to look for", positional="TEXT...")
    index: str = option("texts.npy", "Input", "an output of encode --index, or its index folder", min_length=1)
    input: str | None = option(None, "Input", "a file of texts to look for", "-i")
    field: str = option("text", "Input", "the key of an object that holds the text")
    k: int = option(10, "Output", "nearest texts shown", "-k", gt=0)
    prompt_name: str | None = option(None, "Input", "one of the model's prompts; its query prompt by default")
    prompt: str | None = option(None, "Input", "put before each text to look for")
    device: Device = None
