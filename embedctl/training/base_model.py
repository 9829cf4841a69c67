"""Settings of a run that depend on its base model: lengths, normalization, sharded layers and tokens of its rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from embedctl import console
from embedctl.data.rows import line_of_row
from embedctl.data.store import TrainingData
from embedctl.errors import ConfigError, ModelError
from embedctl.model.embedder import Embedder
from embedctl.model.lengths import DEFAULTS, allow_length, choose_length, length_limits
from embedctl.model.similarity import COSINE
from embedctl.model.vocabulary import check_tokens
from embedctl.training.job import TrainJob

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def with_lengths(job: TrainJob, model: SentenceTransformer) -> TrainJob:
    """Return the job with the maximum lengths of queries and passages; raise the model's own length to them.

    Raises:
        ConfigError: a given length is above the number of the model's positions, or the model does not truncate texts.
    """
    lengths: dict[str, int | None] = {}
    for kind in DEFAULTS:
        name = f"{kind}_max_len"
        lengths[name] = choose_length(kind, getattr(job.text, name), length_limits(model, kind), job.model)
    for kind in DEFAULTS:  # after both are chosen, because they may share a module
        allow_length(model, kind, lengths[f"{kind}_max_len"])
    text = job.text.model_copy(update=lengths)
    return replace(job, text=text, settings=job.settings | {"text": text.model_dump(mode="json")})


def append_normalize(job: TrainJob, embedder: Embedder) -> None:
    """Append a Normalize module unless the model has one, because it is trained with normalized vectors.

    A model with another similarity function than the cosine is unchanged, because the lengths of its vectors count.
    """
    from sentence_transformers.sentence_transformer.modules import Normalize

    if embedder.similarity is not COSINE:
        message = f"the model states the similarity function {embedder.similarity.name}, by which it is evaluated; "
        console.info(f"{job.model}: {message}the losses compare embeddings by cosine similarity")
    elif not isinstance(list(embedder.model.children())[-1], Normalize):
        embedder.model.append(Normalize())


def check_layers(job: TrainJob, embedder: Embedder) -> None:
    """Raise a ConfigError if the model has no layer of a class of --fsdp-layers."""
    classes = {type(module).__name__ for module in embedder.modules()}
    missing = [name for name in job.launch.fsdp_layers if name not in classes]
    if missing:
        message = f"--fsdp-layers {missing[0]}: the model {job.model} has no layer of this class"
        raise ConfigError(message, f"omit --fsdp-layers, or use {' or '.join(embedder._no_split_modules)}")


def check_rows(job: TrainJob, embedder: Embedder, data: TrainingData) -> None:
    """Check that the tokens of all rows have a row in the model's embedding matrix.

    If sentence-transformers tokenizes, the tokens are not known yet, and the texts of each batch are checked.

    Raises:
        ModelError: a token has none.
    """
    if embedder.uses_own_forward:
        return
    token = data.facts["largest_token"]
    try:
        check_tokens(embedder.model[0], token)
    except ModelError as cause:
        source, number = data.find_token(token)
        path = job.sources[source].path
        raise ModelError(f"{path}:{line_of_row(path, number)}: {cause.message}", cause.hint) from None
