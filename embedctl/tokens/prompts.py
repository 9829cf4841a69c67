"""Selection of the prompt prepended to a text: the row's prompt, else the given one, else the model's default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

PromptKind = Literal["query", "passage"]
# the names under which models store their prompts
PROMPT_NAMES: dict[PromptKind, tuple[str, ...]] = {"query": ("query",), "passage": ("document", "passage", "corpus")}


def first_prompt(*prompts: str | None) -> str:
    """Return the first prompt that is not None, else ""; an empty prompt is valid, then nothing is prepended."""
    return next((prompt for prompt in prompts if prompt is not None), "")


def model_prompt(prompts: Mapping[str, str | None], kind: PromptKind) -> str | None:
    """Return the prompt for queries or passages from a model's prompts; None if there is none."""
    return next((prompt for name in PROMPT_NAMES[kind] if (prompt := prompts.get(name)) is not None), None)
