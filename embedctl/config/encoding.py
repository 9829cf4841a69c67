"""The options of encode and search: texts to vectors, and the nearest of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from embedctl.config.base import Command, Device, Flag, ModelSection, Strings


class EncodeConfig(Command):
    """`embedctl encode`."""

    name: ClassVar[str] = "encode"

    model: ModelSection = ModelSection()
    input: Annotated[
        str,
        Field(min_length=1, description=".txt, .jsonl, .json, .csv, .parquet, or - for stdin"),
        Flag("Input", ("-i",)),
    ] = "texts.txt"
    output: Annotated[
        str | None,
        Field(description=".npy, .jsonl, .parquet or a folder/; the input's stem with .npy by default"),
        Flag("Output", ("-o",)),
    ] = None
    field: Annotated[str, Field(description="the key of an object that holds the text"), Flag("Input")] = "text"
    prompt_name: Annotated[str | None, Field(description="one of the model's prompts, e.g. query"), Flag("Input")] = (
        None
    )
    prompt: Annotated[str | None, Field(description="put before each text"), Flag("Input")] = None
    dim: Annotated[
        int | None, Field(gt=0, description="keep the leading dimensions and normalise again"), Flag("Output")
    ] = None
    dtype: Annotated[
        Literal["float32", "float16", "int8", "binary"], Field(description="type of the stored numbers"), Flag("Output")
    ] = "float32"
    max_len: Annotated[
        int | None, Field(ge=4, description="tokens of a text; the model's own by default"), Flag("Input")
    ] = None
    batch_tokens: Annotated[
        int | None, Field(gt=0, description="tokens in one pass through the model"), Flag("Machine")
    ] = None
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Field(description="compute type; auto: float32"),
        Flag("Machine"),
    ] = "auto"
    backend: Annotated[
        Literal["torch", "onnx", "openvino"],
        Field(description="what computes the transformer; onnx, openvino: on the CPU, extras of the same names"),
        Flag("Machine"),
    ] = "torch"
    shard_rows: Annotated[
        int, Field(gt=0, description="rows of a file when the output is a folder"), Flag("Output")
    ] = 100_000
    index: Annotated[
        Literal["flat", "hnsw", "ivf"] | None,
        Field(description="also write OUTPUT.index/ to search in: flat is exact, hnsw and ivf are fast"),
        Flag("Output"),
    ] = None
    overwrite: Annotated[bool, Field(description="replace the output"), Flag("Output")] = False
    num_processes: Annotated[
        int, Field(gt=0, description="processes that share the shards of a folder, one a GPU"), Flag("Machine")
    ] = 1
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
    texts: Annotated[
        Strings, Field(description="what to look for"), Flag("Input", argument=True, metavar="TEXT...")
    ] = ()
    index: Annotated[
        str, Field(min_length=1, description="an output of encode --index, or its index folder"), Flag("Input")
    ] = "texts.npy"
    input: Annotated[str | None, Field(description="a file of texts to look for"), Flag("Input", ("-i",))] = None
    field: Annotated[str, Field(description="the key of an object that holds the text"), Flag("Input")] = "text"
    k: Annotated[int, Field(gt=0, description="nearest texts shown"), Flag("Output", ("-k",))] = 10
    prompt_name: Annotated[
        str | None, Field(description="one of the model's prompts; its query prompt by default"), Flag("Input")
    ] = None
    prompt: Annotated[str | None, Field(description="put before each text to look for"), Flag("Input")] = None
    device: Device = None
