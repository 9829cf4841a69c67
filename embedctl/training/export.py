"""Writing the trained model in sentence-transformers' format, whole or not at all, and reading it back to compare."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl import __version__
from embedctl.errors import ModelError
from embedctl.files import atomic_folder
from embedctl.model.embedder import Embedder
from embedctl.resources import shown
from embedctl.training.job import TrainJob

LAST = "modules.json"  # its presence says that the model is whole
AGREEMENT = 0.9999
RECORD = "embedctl.json"


@dataclass(frozen=True)
class Account:
    """What a model card tells."""

    job: TrainJob  # the run's
    data: dict[str, Any]  # facts about the rows
    metrics: dict[str, float]  # name to value of the exported weights; empty if none were measured
    before: dict[str, float]  # the same before training
    steps: int  # updates done


def export(embedder: Embedder, folder: Path, account: Account) -> None:
    """Write a model on the CPU to `folder`, beside whatever else is in it; modules.json comes last."""
    whole = folder / ".model"
    with atomic_folder(whole, sync=True) as work:
        embedder.save(work)
        (work / "README.md").write_text(model_card(embedder, account), encoding="utf-8")
        (work / RECORD).write_text(json.dumps(record(account), indent=2, ensure_ascii=False), encoding="utf-8")
    (folder / LAST).unlink(missing_ok=True)
    for part in sorted(whole.iterdir(), key=lambda path: path.name == LAST):
        target = folder / part.name
        if target.is_dir():
            shutil.rmtree(target)
        part.replace(target)
    whole.rmdir()


def record(account: Account) -> dict[str, Any]:
    """What other commands want to know about a run."""
    job = account.job
    return {
        "embedctl": __version__,
        "base_model": job.model,
        "eval_dataset": [str(Path(name).resolve()) for name in job.data.eval_dataset],
        "steps": account.steps,
        "metrics": account.metrics,
        "metrics_before": account.before,
        "mrl_dims": list(job.loss.mrl_dims),
        "query_max_len": job.text.query_max_len,
        "passage_max_len": job.text.passage_max_len,
    }


def verify(folder: Path, texts: list[str], trained: NDArray[np.float32], *, trust_remote_code: bool) -> float:
    """Load the export with SentenceTransformer and compare it with the trained model's vectors (N, H) of N texts.

    Returns:
        The smallest cosine between the two.

    Raises:
        ModelError: it is below 0.9999.
    """
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(str(folder), device="cpu", trust_remote_code=trust_remote_code)
    saved = loaded.encode(texts, prompt="", normalize_embeddings=True, show_progress_bar=False)
    return expect_agreement(saved, trained, AGREEMENT, str(folder))


def expect_agreement(found: NDArray[np.float32], expected: NDArray[np.float32], least: float, what: str) -> float:
    """The smallest cosine between two sets of N normalised vectors.

    Raises:
        ModelError: it is below `least`.
    """
    agreement = float((found * expected).sum(axis=1).min())
    if not agreement >= least:
        raise ModelError(f"{what}: the vectors differ from the trained model's (cosine {agreement:.5f})")
    return agreement


def model_card(embedder: Embedder, account: Account) -> str:
    """README.md of an export: data, parameters, metrics and how to load it."""
    job, data = account.job, account.data
    base, dims = shown(job.model), ", ".join(map(str, job.loss.mrl_dims))
    prompts = ", ".join(f'{name} "{text}"' for name, text in embedder.prompts.items() if text) or "none"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in data["kinds"].items())
    head = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "tags: [sentence-transformers, feature-extraction, embedctl]",
        *([f"base_model: {base}"] if "/" in base and not Path(base).exists() else []),
        "---",
    ]
    use = [
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        f'model = SentenceTransformer("{job.run.output_dir}")',
        'queries = model.encode_query(["..."])',
        'passages = model.encode_document(["..."])',
        "scores = model.similarity(queries, passages)",
        "```",
    ]
    paragraphs = [
        "\n".join(head),
        f"# {job.folder.name}",
        f"A text-embedding model of {embedder.dimension} dimensions, tuned from `{base}` with embedctl {__version__}.",
        "## Use",
        "\n".join(use),
        f"Texts are cut at {embedder.max_len} tokens (trained with {job.text.query_max_len} for queries and "
        f"{job.text.passage_max_len} for passages). Prompts: {prompts}.",
        f"Trained so that the leading {dims} dimensions stand alone (`truncate_dim`)." if dims else "",
        "## Data",
        f"{data['rows']:,} rows ({kinds}) from {', '.join(map(shown, job.data.dataset))}; "
        f"{data['texts']:,} distinct texts.",
        "## Metrics",
        _metric_table(account),
        "## Parameters",
        _parameter_table(account),
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _metric_table(account: Account) -> str:
    if not account.metrics:
        return "None were measured: the run had no evaluation rows."
    before = account.before
    rows = [f"| {name} | {before.get(name, nan):.4f} | {value:.4f} |" for name, value in account.metrics.items()]
    return "\n".join(["| metric | before | after |", "|---|---|---|", *rows])


def _parameter_table(account: Account) -> str:
    job = account.job
    parameters = {"updates": account.steps, "neg_nums": job.data.neg_nums}
    parameters |= job.optim.model_dump() | job.loss.model_dump(exclude={"mrl_dims"})
    rows = [f"| {name} | {value} |" for name, value in parameters.items()]
    return "\n".join(["| parameter | value |", "|---|---|", *rows])
