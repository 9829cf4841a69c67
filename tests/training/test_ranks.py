"""Real sessions on several processes, sharded (FSDP2) or copied (DDP): the gradients of one process, in float64.

One process computes the loss of the whole batch as it is written, in a single forward; the ranks run the step.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch.nn.functional import cross_entropy, normalize

from embedctl.config import TrainConfig, load
from embedctl.data.batches import Batch, BatchPlan
from embedctl.data.build import Recipe, open_or_build
from embedctl.data.rows import RowKind
from embedctl.data.store import TrainingData
from embedctl.data.visits import Mix
from embedctl.distributed.ranks import world
from embedctl.losses.infonce import InfoNCE
from embedctl.model.embedder import Embedder
from embedctl.model.loading import load_sentence_transformer
from embedctl.tokens.packing import Ragged
from embedctl.training import runtime
from embedctl.training.feeder import Feeder
from embedctl.training.job import TrainJob
from embedctl.training.session import Session
from embedctl.training.step import Stepper

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

WORDS = ["tea", "water", "leaf", "cup", "kettle", "steam", "garden", "bee", "hive", "honey", "wing", "flower"]
ROWS, NEGATIVES, TEMPERATURE = 13, 3, 0.1
WHOLE = 10**6
# queries of a batch, batches an update, tokens of a forward: direct; chunks; more chunks than a rank has texts for; a
# batch so small that a rank has no text at all
CASES = [(ROWS, 1, WHOLE), (ROWS, 1, 60), (5, 3, 25), (1, 2, WHOLE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rows that share texts, some with several positives, some without negatives, and a model of two layers."""
    draw, folder = np.random.default_rng(0), tmp_path_factory.mktemp("ranks")
    texts = [" ".join(draw.choice(WORDS, size)) for size in draw.integers(3, 18, 30)]
    rows = [
        {
            "query": texts[number % 9],
            "pos": [texts[9 + place] for place in draw.choice(21, 1 + number % 2, replace=False)],
            "neg": [texts[9 + place] for place in draw.integers(0, 21, number % 4)],
        }
        for number in range(ROWS)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs.save_small_model(texts, folder / "model")
    return folder


def opened(folder: Path) -> tuple[Embedder, TrainingData]:
    """The model in float64, without Normalize, and the rows."""
    embedder = Embedder(load_sentence_transformer(str(folder / "model"))).double()
    data = open_or_build([str(folder / "rows.jsonl")], embedder.tokenizer, Recipe(64, 64), folder / "stores")
    return embedder, data


def written_out(embedder: Embedder, data: TrainingData, batch: Batch) -> torch.Tensor:
    """The loss by hand: every query against all distinct documents but the known positives of others."""
    tokens = data.texts.ragged(batch.texts)
    vectors = normalize(embedder(embedder.features(Ragged(tokens.ids, tokens.lengths))), dim=-1)
    known = {tuple(pair) for pair in batch.known_pairs.tolist()}
    losses = []
    for query in range(len(batch)):
        own = int(batch.own_QC[query, 0])
        columns = [own, *(d for d in range(len(batch.document_D)) if d != own and (query, d) not in known)]
        similarity = vectors[batch.document_D[columns]] @ vectors[batch.query_Q[query]]
        losses.append(cross_entropy(similarity[None] / TEMPERATURE, torch.zeros(1, dtype=torch.long)))
    return torch.stack(losses).mean()


def of_one_process(folder: Path, queries: int, batches: int) -> tuple[dict[str, torch.Tensor], float]:
    embedder, data = opened(folder)
    plan = BatchPlan(data.rows, Mix(queries, NEGATIVES, 7))
    loss = sum(written_out(embedder.train(), data, plan.batch(0, step)) / batches for step in range(batches))
    loss.backward()
    return {n: w.grad for n, w in embedder.named_parameters() if w.grad is not None}, float(loss.detach())


def of_ranks(session: Session, data: TrainingData, queries: int, batches: int) -> tuple[dict[str, torch.Tensor], float]:
    """The same from the step, whole tensors on every rank."""
    plan = BatchPlan(data.rows, Mix(queries, NEGATIVES, 7))
    feeder = Feeder(session, plan, data.texts, "all")
    stepper = Stepper(session, dict.fromkeys(RowKind, InfoNCE(temperature=TEMPERATURE)), 0)
    loss = 0.0
    for step in range(batches):
        prepared = feeder.prepare(0, step)
        loss += float(stepper(prepared, step, last=step == batches - 1, scale=1 / batches)) / batches
    found = {}
    for name, weight in session.weights.named_parameters():
        if weight.grad is not None:
            gradient = weight.grad.full_tensor() if hasattr(weight.grad, "full_tensor") else weight.grad
            found[name.removeprefix("module.")] = gradient.clone()
    session.clear()
    return found, loss


def environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What a cluster's scheduler sets."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }


def run_rank(rank: int, ranks: int, port: int, strategy: str, folder: Path, results) -> None:
    os.environ |= environment(rank, ranks, port)
    torch.set_num_threads(1)
    embedder, data = opened(folder)
    job = TrainJob.of(load(TrainConfig, None, {"cpu": True, "strategy": strategy}))
    session = Session.prepare(embedder, runtime.join(job), job)
    assert world() == ranks
    assert session.runtime.strategy == strategy
    for queries, batches, tokens in CASES:
        session.budget = tokens
        found, loss = of_ranks(session, data, queries, batches)
        if rank == 0:
            results.put(({name: gradient.numpy() for name, gradient in found.items()}, loss))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("ranks", "strategy"), [(2, "fsdp"), (3, "fsdp"), (2, "ddp")])
def test_ranks_give_the_gradient_of_one_process(ranks, strategy, folder):
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__, "accelerate", "sentence_transformers"])  # imported once, not by each rank
    results = context.Queue()
    arguments = (ranks, runs.free_port(), strategy, folder, results)
    processes = mp.start_processes(run_rank, arguments, nprocs=ranks, join=False, start_method="forkserver")
    for queries, batches, tokens in CASES:
        expected, expected_loss = of_one_process(folder, queries, batches)
        found, loss = results.get(timeout=120)
        assert loss == pytest.approx(expected_loss, abs=1e-12)
        assert found.keys() == expected.keys()
        largest = max(float(gradient.abs().max()) for gradient in expected.values())
        error = max(float((torch.from_numpy(found[name]) - expected[name]).abs().max()) for name in expected)
        assert error < 1e-10 < 1e-3 < largest, (queries, batches, tokens)
    for process in processes.processes:  # gloo may abort while it shuts down, after the results are out
        process.join()


def test_the_batch_has_what_is_claimed_of_it(folder):
    """Hard negatives, known positives of others, texts of several rows, and several chunks where that is meant."""
    _, data = opened(folder)
    batch = BatchPlan(data.rows, Mix(ROWS, NEGATIVES, 7)).batch(0, 0)
    assert len(batch.known_pairs) > 0
    assert (batch.own_QC[:, 1:] >= 0).any()
    own = batch.own_QC[batch.own_QC >= 0]
    assert len(np.unique(own)) < len(own)
    assert data.texts.lengths[batch.texts].sum() > 3 * 60
