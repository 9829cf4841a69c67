"""Maximum lengths and prompts of the texts of a run."""

from __future__ import annotations

from dataclasses import dataclass

from embedctl.tokens.prompts import first_prompt
from embedctl.tokens.raw_text import mark


@dataclass(frozen=True)
class TextSettings:
    """Maximum lengths and prompts of queries and passages."""

    query_max_len: int | None  # in tokens; None: queries are not truncated
    passage_max_len: int | None  # in tokens; None: passages are not truncated
    query_prompt: str = ""  # prepended to each query whose row has no prompt
    passage_prompt: str = ""  # prepended to each passage
    marks_prompts: bool = False  # whether the tokenizer is a `RawTextTokenizer`

    def query(self, text: str, prompt: str | None = None) -> str:
        """Return a query with its own prompt or, if that is None, with the prompt of the settings."""
        prompt = first_prompt(prompt, self.query_prompt)
        return (mark("query", prompt) if self.marks_prompts else prompt) + text

    def passage(self, text: str) -> str:
        """Return a passage with its prompt."""
        return (mark("passage", self.passage_prompt) if self.marks_prompts else self.passage_prompt) + text
