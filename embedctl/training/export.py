"""Export of the fine-tuned model in sentence-transformers' format, with a model card, and its verification."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedctl import __version__
from embedctl.config import TINY
from embedctl.data.rows import format_kinds
from embedctl.digests import list_files
from embedctl.errors import ModelError, OutputError
from embedctl.files import atomic_folder
from embedctl.model.completeness import check_model
from embedctl.model.embedder import Embedder
from embedctl.model.equivalence import MAX_LENGTH_DIFFERENCE, Agreement, EncodeTexts, own_encoders
from embedctl.model.lengths import UNLIMITED, length_limits
from embedctl.model.loading import loading_context
from embedctl.resources import display_path
from embedctl.run_folder import MODEL_FILE, SUMMARY_FILE, RunFolder
from embedctl.training.job import TrainJob

# Lowest cosine similarity allowed between embeddings computed in this type and in float32.
MIN_SIMILARITY = {torch.float32: 0.9999, torch.bfloat16: 0.99, torch.float16: 0.999}
DIFFERENCE_HINT = "do not use this model. Train with --mixed-precision no, or report this as a bug in embedctl"
DIVERGED_HINT = "do not use this model; train again with a lower --lr or a higher --temperature"
HEAD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, embedctl]
"""
USAGE = """```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer({folder})
queries = model.encode_query(["..."])
passages = model.encode_document(["..."])
scores = model.similarity(queries, passages)
```"""


@dataclass(frozen=True)
class RunSummary:
    """Contents of the model card and of embedctl.json."""

    job: TrainJob
    data: dict[str, Any]  # numbers of rows, texts and tokens
    metrics: dict[str, float]  # metrics of the exported model; empty if it was not evaluated
    base_metrics: dict[str, float]  # metrics of the base model
    steps: int  # number of optimizer steps done

    @property
    def contents(self) -> dict[str, Any]:
        """Contents of embedctl.json, which other commands read."""
        return {
            "embedctl": __version__,
            "base_model": self.job.model,
            "eval_dataset": [str(Path(name).resolve()) for name in self.job.data.eval_dataset],
            "steps": self.steps,
            "metrics": self.metrics,
            "metrics_before": self.base_metrics,
            "mrl_dims": list(self.job.loss.mrl_dims),
            "query_max_len": self.job.text.query_max_len,
            "passage_max_len": self.job.text.passage_max_len,
        }


def export(embedder: Embedder, folder: Path, summary: RunSummary) -> None:
    """Write a model, which is on the CPU, to `folder`; an older model is replaced and other files are kept.

    Raises:
        OutputError: the model cannot be written.
    """
    complete = folder / ".model"
    with atomic_folder(complete, sync=True) as temporary:
        embedder.save(temporary)
        (temporary / "README.md").write_text(model_card(embedder, summary), encoding="utf-8")
        weights = (path.relative_to(temporary).as_posix() for path in temporary.rglob("*.safetensors"))
        summary_json = json.dumps(
            summary.contents | {"files": list_files(temporary, sorted(weights))}, indent=2, ensure_ascii=False
        )
        (temporary / SUMMARY_FILE).write_text(summary_json, encoding="utf-8")
    run, root = RunFolder(summary.job.folder), folder.relative_to(summary.job.folder)
    files = [path.relative_to(complete) for path in complete.rglob("*") if path.is_file()]
    names = {str(root / file) for file in files}
    listed = set(run.run_files())
    others = [name for name in sorted(names) if (run.path / name).exists() and name not in listed]
    if others:  # they were created while the run trained
        kept = folder / f"model-of-step-{summary.steps}"
        complete.replace(kept)
        message = f"{', '.join(others)} in {run.path} is not a file of this run and was not replaced"
        raise OutputError(message, f"load the model from {kept}")
    run.add(names)
    (folder / MODEL_FILE).unlink(missing_ok=True)
    # While modules.json is missing, embedctl.json marks the folder as incomplete, so no command loads it.
    for file in sorted(files, key=lambda file: (str(file) == MODEL_FILE, str(file) != SUMMARY_FILE)):
        (folder / file).parent.mkdir(exist_ok=True)
        (complete / file).replace(folder / file)
    shutil.rmtree(complete)


@dataclass(frozen=True)
class Samples:
    """Queries and passages whose embeddings by the exported model are compared with those of the model in training."""

    queries: list[str]
    passages: list[str]

    def encode(self, queries: EncodeTexts, passages: EncodeTexts) -> NDArray[np.float32]:
        """Return the vectors (N, H) of the queries and then of the passages, by a function for each of them."""
        return np.concatenate([queries(self.queries), passages(self.passages)])


def verify(folder: Path, samples: Samples, expected: NDArray[np.float32], *, trust_remote_code: bool) -> float:
    """Load an exported model with SentenceTransformer and compare its embeddings with those expected (N, H).

    Raises:
        ModelError: the lowest cosine similarity, which is returned, is lower than 0.9999, the lengths of the vectors
            differ, or loading fails.
    """
    with loading_context(str(folder), f"{folder}: the exported model cannot be loaded"):
        check_model(str(folder), trust_remote_code=trust_remote_code)
        from sentence_transformers import SentenceTransformer

        settings = {"use_safetensors": True}
        model = SentenceTransformer(
            str(folder), device="cpu", trust_remote_code=trust_remote_code, model_kwargs=settings
        )
    return check_vectors(samples.encode(*own_encoders(model)), expected, torch.float32, str(folder))


def check_vectors(found: NDArray[np.float32], expected: NDArray[np.float32], dtype: torch.dtype, source: str) -> float:
    """Return the lowest cosine similarity between two arrays (N, H) of vectors, row by row.

    Args:
        found: vectors; `source` names their origin.
        expected: the vectors of the trained model.
        dtype: the type in which one of them was computed.
        source: the origin of `found`, for the message.

    Raises:
        ModelError: it is lower than `MIN_SIMILARITY`, or the lengths of the vectors differ.
    """
    agreement = Agreement.of(found, expected)
    if np.isnan(agreement.cosine):
        raise ModelError(f"{source}: the trained model returns NaN, because training diverged", DIVERGED_HINT)
    if not agreement.is_within(MIN_SIMILARITY[dtype], MAX_LENGTH_DIFFERENCE[dtype]):
        raise ModelError(f"{source}: the embeddings differ from the trained model's ({agreement})", DIFFERENCE_HINT)
    return agreement.cosine


def model_card(embedder: Embedder, summary: RunSummary) -> str:
    """Return README.md of an exported model: how to load it, data, metrics and parameters."""
    job, data = summary.job, summary.data
    base, dims = display_path(job.model), ", ".join(map(str, job.loss.mrl_dims))
    origin = "the built-in model (random weights)" if job.model == TINY else f"`{base}`"
    prompts = ", ".join(f'{name} "{text}"' for name, text in embedder.prompts.items() if text) or "none"
    base_model = f"base_model: {base}\n" if "/" in base and not Path(base).exists() else ""
    paragraphs = [
        f"{HEAD}{base_model}---",
        f"# {job.folder.name}",
        f"A text-embedding model with {embedder.dimension} dimensions. It was fine-tuned from {origin} with embedctl "
        f"{__version__}.",
        "## Usage",
        USAGE.format(folder=json.dumps(job.run.output_dir, ensure_ascii=False)),
        f"{_truncation(embedder, job)} Prompts: {prompts}.",
        f"The model was trained for truncation to {dims} dimensions (`truncate_dim`)." if dims else "",
        "## Data",
        f"{data['rows']:,} rows ({format_kinds(data['kinds'])}) with {data['texts']:,} distinct texts, from "
        f"{', '.join(map(display_path, job.data.dataset))}.",
        "## Metrics",
        _metric_table(summary),
        "## Parameters",
        _parameter_table(summary),
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _truncation(embedder: Embedder, job: TrainJob) -> str:
    own = length_limits(embedder.model, "passage").own
    if own is None:
        return "Texts are not truncated."
    limit = "not truncated" if own >= UNLIMITED else f"truncated to {own} tokens"
    text = job.text
    trained = f"queries were truncated to {text.query_max_len} tokens and passages to {text.passage_max_len} tokens"
    return f"Texts are {limit}. In training, {trained}."


def _metric_table(summary: RunSummary) -> str:
    if not summary.metrics:
        return "The model was not evaluated, because the run had no evaluation data."
    base = summary.base_metrics
    rows = [f"| {name} | {base.get(name, nan):.4f} | {value:.4f} |" for name, value in summary.metrics.items()]
    return "\n".join(["| metric | base model | fine-tuned model |", "|---|---|---|", *rows])


def _parameter_table(summary: RunSummary) -> str:
    job = summary.job
    parameters = {"steps": summary.steps, "neg_nums": job.data.neg_nums}
    parameters |= job.optim.model_dump() | job.loss.model_dump(exclude={"mrl_dims"})
    rows = [f"| {name} | {value} |" for name, value in parameters.items()]
    return "\n".join(["| parameter | value |", "|---|---|", *rows])
