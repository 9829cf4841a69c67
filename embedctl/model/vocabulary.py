"""Check that the tokens of a text have rows in the embedding matrix of a model.

Some tokenizers have more tokens than the matrix has rows; most texts contain none of these tokens. On a GPU, such a
token would stop the process.
"""

from __future__ import annotations

from typing import Any

from embedctl.errors import ModelError


def check_tokens(module: Any, largest: int) -> None:
    """Check the largest token id of some texts.

    Args:
        module: the input module of a sentence-transformers model; modules without an embedding matrix are not checked.
        largest: the largest token id.

    Raises:
        ModelError: the id has no row in the embedding matrix.
    """
    backbone = getattr(module, "auto_model", None)
    matrix = getattr(module, "embedding", None) if backbone is None else backbone.get_input_embeddings()
    rows = getattr(matrix, "num_embeddings", None)
    if rows is None or largest < rows:
        return
    tokenizer = getattr(module, "tokenizer", None)
    name = getattr(tokenizer, "convert_ids_to_tokens", getattr(tokenizer, "id_to_token", str))(largest)
    message = f"a text has the token {name!r} with the id {largest:,}, but the embedding matrix of the model has "
    hint = "remove this token from the texts, or add rows with `resize_token_embeddings` of transformers"
    raise ModelError(f"{message}{rows:,} rows", hint)
