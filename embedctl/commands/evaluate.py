"""`embedctl eval`: retrieval metrics of a model, alone or beside a baseline."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedctl import console
from embedctl.commands.checkpoints import checkpoint_of
from embedctl.commands.flags import takes
from embedctl.config import EvalConfig
from embedctl.errors import CheckFailed, ConfigError, DataError
from embedctl.resources import example_data

if TYPE_CHECKING:
    from embedctl.evaluation.collections import Collection

EXAMPLE = "Example: embedctl eval --ckpt out --baseline BAAI/bge-base-zh-v1.5 --dataset eval.jsonl"


@takes(EvalConfig)
def command(config: EvalConfig) -> None:
    """Measure how well a model retrieves."""
    from embedctl.evaluation.metrics import expect_metric, means

    expect_metric(config.metric)
    checkpoint = checkpoint_of(config.model.model_name_or_path)
    collection, source = collection_of(config, checkpoint)
    values = measured(config, checkpoint, collection)
    metrics = means(values)
    document: dict[str, Any] = {
        "model": checkpoint,
        "data": source,
        "queries": len(collection.queries),
        "documents": len(collection.corpus),
        "metrics": metrics,
    }
    title = f"{checkpoint}: {len(collection.queries):,} queries, {len(collection.corpus):,} documents ({source})"
    if config.baseline:
        document |= beside_baseline(config, checkpoint, collection, values, title)
    else:
        from embedctl.evaluation.report import show

        show(title, metrics)
    if config.json_output:
        console.result(document)
    elif config.quiet:
        print("\n".join(f"{name}\t{value:.6f}" for name, value in metrics.items()))
    if config.min is not None and metrics[config.metric] < config.min:
        raise CheckFailed(f"{config.metric} {metrics[config.metric]:.4f} is under --min {config.min}")


def collection_of(config: EvalConfig, checkpoint: str) -> tuple[Collection, str]:
    """What is evaluated on: the data named, else the run's own evaluation rows, else the shipped collection.

    Raises:
        DataError: a file is missing or wrong.
    """
    from embedctl.evaluation.collections import Collection

    if config.dataset:
        return Collection.from_rows(config.dataset), ", ".join(config.dataset)
    if config.corpus and config.queries and config.qrels:
        return Collection.from_beir(config.corpus, config.queries, config.qrels), config.corpus
    recorded = recorded_dataset(checkpoint)
    if recorded:
        return Collection.from_rows(recorded), ", ".join(recorded)
    console.say("no data given: using the example collection shipped with embedctl")
    files = [str(example_data(name)) for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv")]
    return Collection.from_beir(*files), "example collection"


def recorded_dataset(checkpoint: str) -> list[str]:
    """The evaluation rows that a run wrote down.

    Raises:
        DataError: they are no longer there.
    """
    path = Path(checkpoint) / "embedctl.json"
    if not path.exists():
        return []
    files: list[str] = json.loads(path.read_text(encoding="utf-8")).get("eval_dataset", [])
    gone = [name for name in files if not Path(name).is_file()]
    if gone:
        raise DataError(f"{gone[0]}: the run's evaluation rows are no longer there", "give --dataset FILE")
    return files


def measured(config: EvalConfig, model: str, collection: Collection) -> dict[str, dict[str, float]]:
    """Each metric of each query for a model."""
    from embedctl.evaluation.metrics import evaluate_embedder
    from embedctl.model.embedder import Embedder

    embedder = Embedder.from_pretrained(
        model, device=config.device, trust_remote_code=config.model.trust_remote_code
    )
    if config.dim and config.dim > embedder.dimension:
        raise ConfigError(f"--dim {config.dim}: {model} has {embedder.dimension} dimensions", "choose a smaller --dim")
    return evaluate_embedder(
        embedder,
        collection,
        query_prompt=config.query_prompt,
        passage_prompt=config.passage_prompt,
        dim=config.dim,
        show_progress=True,
    )


def beside_baseline(
    config: EvalConfig, checkpoint: str, collection: Collection, values: dict[str, dict[str, float]], title: str
) -> dict[str, Any]:
    """Measure the baseline, draw both and return what `--json` adds."""
    from embedctl.evaluation.compare import compare
    from embedctl.evaluation.metrics import means
    from embedctl.evaluation.report import show_beside

    baseline = str(config.baseline)
    theirs = measured(config, baseline, collection)
    found = {name: compare(of, theirs[name]) for name, of in values.items()}
    show_beside(title, (Path(checkpoint).name, Path(baseline).name), means(values), means(theirs), found)
    return {
        "baseline": {"model": baseline, "metrics": means(theirs)},
        "difference": {name: asdict(comparison) for name, comparison in found.items()},
    }
