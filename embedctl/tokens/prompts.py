"""Which prompt is prepended to a text: its row's own, else the one given, else the model's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Kind = Literal["query", "passage"]
NAMES = {"query": ("query",), "passage": ("document", "passage", "corpus")}  # under which models keep their prompts


def first_prompt(*prompts: str | None) -> str:
    """The first prompt that is not None; an empty one counts, it means that nothing is prepended."""
    return next((prompt for prompt in prompts if prompt is not None), "")


def model_prompt(prompts: Mapping[str, str | None], kind: Kind) -> str:
    """A model's own prompt for queries or passages; empty if it has none."""
    return next((prompt for name in NAMES[kind] if (prompt := prompts.get(name))), "")
