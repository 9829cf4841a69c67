"""Checks of the configuration files of a model: JSON, with the types of values that the libraries expect.

The libraries report a wrong value late, and often as an error of their own code. What only transformers reads, such as
the sizes in config.json, is checked by transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

from embedctl.config.expected import EXPECTED
from embedctl.errors import ModelError
from embedctl.model.trust import model_parts

HINT = "correct the file, or download the model again"
# pydantic's type of error: what is expected in a JSON file
EXPECTED_JSON = EXPECTED | {
    **dict.fromkeys(("model_type", "dict_type"), "an object with keys and values"),
    "list_type": "a list",
    "missing": "a value; the key is missing",
}


class _Settings(BaseModel):
    """A JSON object; other keys are not checked."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Module(_Settings):
    name: str
    path: str
    type: str


class _ModelSettings(_Settings):
    prompts: dict[str, str | None] = {}
    default_prompt_name: str | None = None
    similarity_fn_name: Literal["cosine", "dot", "euclidean", "manhattan"] | None = None
    truncate_dim: PositiveInt | None = None


class _Lengths(_Settings):
    max_seq_length: PositiveInt | None = None
    query_length: PositiveInt | None = None
    document_length: PositiveInt | None = None


class _TokenizerSettings(_Settings):
    tokenizer_class: str | None = None
    model_max_length: float | None = None


class _Adapter(_Settings):
    peft_type: str
    base_model_name_or_path: str


class _WeightIndex(_Settings):
    metadata: dict[str, Any]
    weight_map: dict[str, str]


MODULES = TypeAdapter(Annotated[list[_Module], Field(min_length=1)])
# For each file: its content.
FILES: dict[str, TypeAdapter[Any]] = {
    "config_sentence_transformers.json": TypeAdapter(_ModelSettings),
    "sentence_*_config.json": TypeAdapter(_Lengths),
    "tokenizer_config.json": TypeAdapter(_TokenizerSettings),
    "adapter_config.json": TypeAdapter(_Adapter),
    "*.safetensors.index.json": TypeAdapter(_WeightIndex),
    **dict.fromkeys(("config.json", "router_config.json", "special_tokens_map.json"), TypeAdapter(_Settings)),
    **dict.fromkeys(("added_tokens.json", "generation_config.json"), TypeAdapter(_Settings)),
    **dict.fromkeys(("processor_config.json", "preprocessor_config.json"), TypeAdapter(_Settings)),
}


def check_configuration(folder: Path) -> None:
    """Check the configuration files of a local model and of its modules.

    Raises:
        ModelError: a file cannot be read, is no JSON, or has a value of a wrong type; the message names file and key.
    """
    if (folder / "modules.json").exists():
        _check(folder / "modules.json", MODULES)
    for part in model_parts(folder):
        for pattern, content in FILES.items():
            for file in sorted(part.glob(pattern)):
                _check(file, content)
        if (adapter := part / "adapter_config.json").exists():
            base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
            if base.startswith(("/", ".", "~")) and not Path(base).exists():
                message = f"{adapter}: base_model_name_or_path: the folder {base} of the base model does not exist"
                raise ModelError(message, "write the path of the base model there")


def _check(file: Path, content: TypeAdapter[Any]) -> None:
    try:
        content.validate_python(json.loads(file.read_text(encoding="utf-8")))
    except OSError as cause:
        raise ModelError(f"{file}: the file cannot be read: {cause.strerror}", HINT) from None
    except ValidationError as invalid:
        error = invalid.errors()[0]
        place = ": ".join([str(file), ".".join(map(str, error["loc"]))]).removesuffix(": ")
        expected = EXPECTED_JSON.get(error["type"], error["msg"]).format(**error.get("ctx", {}))
        raise ModelError(f"{place}: expected {expected}", HINT) from None
    except (ValueError, RecursionError) as cause:  # also UnicodeDecodeError
        raise ModelError(f"{file}: the file is not valid JSON: {cause}", HINT) from None
