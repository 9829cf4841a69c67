"""Options of encode and search."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from embedctl.config.base import HARDWARE, Command, Device, ModelSection, Strings, model_option, option


def check_field(file: str | None, field: str) -> None:
    """Raise a ValueError if --field is given for texts that have no keys or columns."""
    kind = "standard input" if file == "-" else ".txt files" if file and file.endswith(".txt") else ""
    if kind and field != TEXT_FIELD:
        raise ValueError(f"--field {field} has no effect on {kind}, where each line is a text: remove --field")


TEXT_FIELD = "text"
FIELD = "key or column that contains the text, for input files other than .txt"


class EncodeConfig(Command):
    """Options of `embedctl encode`."""

    name = "encode"
    main_options = ("model_name_or_path", "input", "field", "output", "index")

    model: ModelSection = ModelSection()
    input: str = option("texts.txt", "Data", "-i", metavar="FILE", min_length=1)
    """texts to encode: .txt (one text per line), .jsonl, .ndjson, .json, .csv, .tsv, .parquet, a datasets folder, or -
    for stdin"""
    output: str | None = option(None, "Output", "-o", metavar="FILE|FOLDER/")
    """file for the embeddings: .npy, .jsonl or .parquet; a name that ends in / is a folder of shards, which an
    interrupted run can continue (default: the name of the input with .npy)"""
    field: str = option(TEXT_FIELD, "Texts", metavar="NAME", description=FIELD)
    prompt_name: str | None = option(None, "Texts", metavar="NAME")
    """name of one of the model's prompts; query or document also select the route of a Router (default: with --index,
    the passage prompt, else the default prompt, if the model has one)"""
    prompt: str | None = option(None, "Texts")
    """prompt prepended to each text, instead of one of the model's (default: see --prompt-name)"""
    dim: int | None = option(None, "Output", gt=0)
    """keep this many leading dimensions; the embeddings are normalized again if the similarity function of the model is
    the cosine (default: all)"""
    dtype: Literal["float32", "float16", "int8", "binary"] = option("float32", "Output")
    """data type of the stored embeddings; int8 and binary are quantized"""
    max_len: int | None = option(None, "Texts", ge=4)
    """maximum length of a text in tokens; longer texts are truncated (default: the model's own)"""
    batch_tokens: int | None = option(None, HARDWARE, gt=0)
    """maximum number of tokens in one forward pass, in which several texts are encoded together; lower it if memory is
    exhausted (default: 65536 on a GPU, 4096 on a CPU)"""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = option("auto", HARDWARE)
    """data type of the computation; auto is float32; bfloat16 is faster on a GPU"""
    backend: Literal["torch", "onnx", "openvino"] = option("torch", HARDWARE)
    """library that computes the transformer; onnx and openvino compute on the CPU and require `pip install
    'embedctl[onnx]'` or `'embedctl[openvino]'`"""
    shard_rows: int = option(100_000, "Output", gt=0)
    """embeddings per file if the output is a folder"""
    index: Literal["flat", "hnsw", "ivf"] | None = option(None, "Output")
    """also write a search index to OUTPUT.index/: flat is exact; hnsw and ivf are faster and approximate (default: no
    index)"""
    overwrite: bool = option(False, "Output")
    """replace an existing output that this command did not write, or that was changed since; encode all shards again"""
    num_processes: int = option(1, HARDWARE, gt=0)
    """number of processes that encode the shards of an output folder; use one per GPU"""
    device: Device = None

    @model_validator(mode="after")
    def _field_has_an_effect(self) -> EncodeConfig:
        check_field(self.input, self.field)
        return self

    @model_validator(mode="after")
    def _shards_are_written(self) -> EncodeConfig:
        if self.shard_rows != type(self).model_fields["shard_rows"].default and not self.writes_folder:
            message = "--shard-rows has no effect on an output that is one file"
            raise ValueError(f"{message}: use -o FOLDER/, or remove --shard-rows")
        return self

    @property
    def writes_folder(self) -> bool:
        """Whether the output is a folder of shards: an existing folder, or a name that ends in a slash."""
        return self.output is not None and (self.output.endswith("/") or Path(self.output).is_dir())

    @property
    def interrupt_hint(self) -> str:
        """See `Command`."""
        if not self.writes_folder:
            return "nothing was saved; use -o FOLDER/ if you want to continue after an interruption"
        without = " without --overwrite" if self.overwrite else ""
        return f"run the same command{without} again to continue with the next shard"


class SearchModelSection(ModelSection):
    """The model that encodes the queries of a search."""

    model_name_or_path: str | None = model_option(None)
    """model that encoded the texts of the index, if its folder has moved (default: the one recorded in the index)"""


class SearchConfig(Command):
    """Options of `embedctl search`."""

    name = "search"
    main_options = ("texts", "index", "input", "k", "model_name_or_path")

    model: SearchModelSection = SearchModelSection()
    texts: Strings = option((), "Data", metavar="TEXT", positional=True)
    """queries to search with"""
    index: str = option("texts.npy", "Data", metavar="FILE|FOLDER", min_length=1)
    """index to search: an output of `encode --index`, or its index folder"""
    input: str | None = option(None, "Data", "-i", metavar="FILE")
    """file of queries, instead of TEXT (default: none)"""
    field: str = option(TEXT_FIELD, "Texts", metavar="NAME", description=FIELD, requires=("input",))
    k: int = option(10, "Output", "-k", gt=0)
    """number of results per query, most similar first"""
    prompt_name: str | None = option(None, "Texts", metavar="NAME")
    """name of one of the model's prompts (default: its query prompt, if it has one)"""
    prompt: str | None = option(None, "Texts")
    """prompt prepended to each query, instead of one of the model's (default: see --prompt-name)"""
    device: Device = None

    @model_validator(mode="after")
    def _field_has_an_effect(self) -> SearchConfig:
        check_field(self.input, self.field)
        return self
