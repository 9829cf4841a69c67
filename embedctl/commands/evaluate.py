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
from embedctl.errors import CheckFailed, DataError
from embedctl.resources import example_data, shown

if TYPE_CHECKING:
    from embedctl.evaluation.collections import Collection
    from embedctl.evaluation.metrics import PerQuery

EXAMPLE = "Example: embedctl eval --ckpt out --baseline BAAI/bge-base-zh-v1.5 --dataset eval.jsonl"
RECORD = "embedctl.json"
EXAMPLE_COLLECTION = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")


@takes(EvalConfig)
def command(config: EvalConfig) -> None:
    """Measure how well a model retrieves."""
    from embedctl.evaluation.metrics import means
    from embedctl.evaluation.names import expect_metric

    expect_metric(config.metric)
    checkpoint = checkpoint_of(config.model.model_name_or_path)
    collection, source = collection_of(config, checkpoint)
    values = measured(config, checkpoint, collection)
    metrics = means(values)
    document = {
        "model": checkpoint,
        "data": source,
        "queries": len(collection.queries),
        "documents": len(collection.corpus),
        "metrics": metrics,
    }
    title = f"{checkpoint}: {len(collection.queries):,} queries, {len(collection.corpus):,} documents ({shown(source)})"
    document |= beside_baseline(config, collection, values, title) if config.baseline else alone(title, metrics)
    if config.json_output:
        console.result(document)
    elif config.quiet:
        print("\n".join(f"{name}\t{value:.6f}" for name, value in metrics.items()))
    if config.min is not None and metrics[config.metric] < config.min:
        raise CheckFailed(f"{config.metric} {metrics[config.metric]:.4f} is under --min {config.min}")


def collection_of(config: EvalConfig, checkpoint: str) -> tuple[Collection, str]:
    """What is evaluated on, and its name; says what was left out of it.

    Raises:
        DataError: a file is missing or wrong.
    """
    from embedctl.evaluation.collections import Collection

    rows = list(config.dataset)
    beir = [name for name in (config.corpus, config.queries, config.qrels) if name]
    if not rows and not beir:
        rows = recorded_dataset(checkpoint)
        if rows:
            console.say("no data given: using the evaluation rows that the run recorded")
    if rows:
        collection, source = Collection.from_rows(rows), ", ".join(rows)
    elif beir:
        collection, source = Collection.from_beir(*beir), beir[0]
    else:
        console.say("no data given, and none recorded: using the example collection shipped with embedctl")
        files = (str(example_data(name)) for name in EXAMPLE_COLLECTION)
        collection, source = Collection.from_beir(*files), "example collection"
    for note in collection.notes:
        console.say(note)
    return collection, source


def recorded_dataset(checkpoint: str) -> list[str]:
    """The evaluation rows that a run wrote down in its output folder; none if it had none.

    Raises:
        DataError: they are no longer there, or the record is damaged.
    """
    path = Path(checkpoint) / RECORD
    other = "give --dataset FILE, or --corpus, --queries and --qrels"
    try:
        files: list[str] = json.loads(path.read_text(encoding="utf-8")).get("eval_dataset", [])
    except (FileNotFoundError, NotADirectoryError):
        return []
    except json.JSONDecodeError as cause:
        raise DataError(f"{path}:{cause.lineno}: line: not JSON: {cause.msg}", other) from None
    gone = [name for name in files if not Path(name).is_file()]
    if gone:
        raise DataError(f"{gone[0]}: the run's evaluation rows are no longer there", other)
    return files


def measured(config: EvalConfig, model: str, collection: Collection) -> PerQuery:
    """Each metric of each query for a model.

    Raises:
        ModelError: the model can't be loaded, or has fewer dimensions than asked for.
    """
    from embedctl.evaluation.metrics import measure_embedder
    from embedctl.model.embedder import Embedder

    trust = config.model.trust_remote_code
    return measure_embedder(
        Embedder.from_pretrained(model, device=config.device, trust_remote_code=trust),
        collection,
        query_prompt=config.query_prompt,
        passage_prompt=config.passage_prompt,
        dim=config.dim,
        show_progress=True,
    )


def alone(title: str, metrics: dict[str, float]) -> dict[str, Any]:
    """Draw one model's metrics; nothing to add to `--json`."""
    from embedctl.evaluation.report import show

    show(title, metrics)
    return {}


def beside_baseline(config: EvalConfig, collection: Collection, values: PerQuery, title: str) -> dict[str, Any]:
    """Measure the baseline, draw both and return what `--json` adds."""
    from embedctl.evaluation.compare import compare
    from embedctl.evaluation.metrics import means
    from embedctl.evaluation.report import show_beside, verdict

    baseline = checkpoint_of(str(config.baseline))
    theirs = measured(config, baseline, collection)
    found = {name: compare(of, theirs[name]) for name, of in values.items()}
    show_beside(f"{title}\nbaseline: {baseline}", means(values), means(theirs), found)
    console.say(verdict(config.metric, found[config.metric]))
    return {
        "baseline": {"model": baseline, "metrics": means(theirs)},
        "difference": {
            name: asdict(comparison) | {"verdict": comparison.verdict} for name, comparison in found.items()
        },
    }
