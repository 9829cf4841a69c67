"""Gradients of sessions on several processes, with FSDP2 and DDP, equal those of one process (in float64).

The one process computes the loss of the whole batch by its definition, in a single forward pass.
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
from embedctl.data.build import open_or_build
from embedctl.data.rows import RowKind
from embedctl.data.store import TrainingData
from embedctl.data.visits import BatchSettings
from embedctl.distributed.ranks import world_size
from embedctl.losses.infonce import InfoNCE
from embedctl.model.embedder import Embedder
from embedctl.model.loading import load_sentence_transformer
from embedctl.tokens.packing import Ragged
from embedctl.tokens.text_settings import TextSettings
from embedctl.training.batch_loader import BatchLoader
from embedctl.training.gradcache import GradCache
from embedctl.training.job import TrainJob
from embedctl.training.runtime import init_runtime
from embedctl.training.session import Session

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

WORDS = ["tea", "water", "leaf", "cup", "kettle", "steam", "garden", "bee", "hive", "honey", "wing", "flower"]
ROWS, NEGATIVES, TEMPERATURE = 13, 3, 0.1
UNLIMITED = 10**6
# Queries per batch, batches per step, tokens per forward pass. In order: a single forward pass; several chunks; chunks
# without a text of some rank; a batch with fewer texts than ranks.
CASES = [(ROWS, 1, UNLIMITED), (ROWS, 1, 60), (5, 3, 25), (1, 2, UNLIMITED)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rows that share texts, some with several positives, some without negatives, and a model with two layers."""
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


def load_model_and_data(folder: Path) -> tuple[Embedder, TrainingData]:
    """Return the model in float64, without its Normalize module, and the rows."""
    embedder = Embedder(load_sentence_transformer(str(folder / "model"))).double()
    data = open_or_build([str(folder / "rows.jsonl")], embedder.tokenizer, TextSettings(64, 64), folder / "stores")
    return embedder, data


def loss_by_definition(embedder: Embedder, data: TrainingData, batch: Batch) -> torch.Tensor:
    """Return InfoNCE of each query over all distinct documents except its other known positives."""
    tokens = data.texts.tokens_of(batch.texts)
    vectors = normalize(embedder(embedder.features(Ragged(tokens.ids, tokens.lengths))), dim=-1)
    known = {tuple(pair) for pair in batch.known_positives.tolist()}
    losses = []
    for query in range(len(batch)):
        own = int(batch.own_QC[query, 0])
        columns = [own, *(d for d in range(len(batch.document_D)) if d != own and (query, d) not in known)]
        similarity = vectors[batch.document_D[columns]] @ vectors[batch.query_Q[query]]
        losses.append(cross_entropy(similarity[None] / TEMPERATURE, torch.zeros(1, dtype=torch.long)))
    return torch.stack(losses).mean()


def gradients_of_one_process(folder: Path, queries: int, batches: int) -> tuple[dict[str, torch.Tensor], float]:
    embedder, data = load_model_and_data(folder)
    plan = BatchPlan(data.rows, BatchSettings(queries, NEGATIVES, 7))
    embedder.train()
    loss = sum(loss_by_definition(embedder, data, plan.batch(0, index)) / batches for index in range(batches))
    loss.backward()
    gradients = {name: weight.grad for name, weight in embedder.named_parameters() if weight.grad is not None}
    return gradients, float(loss.detach())


def gradients_of_ranks(
    session: Session, data: TrainingData, queries: int, batches: int
) -> tuple[dict[str, torch.Tensor], float]:
    """Return the gradients of one step, with full tensors on every rank, and its loss."""
    plan = BatchPlan(data.rows, BatchSettings(queries, NEGATIVES, 7))
    loader = BatchLoader(session, plan, data.texts, "all")
    add_gradient = GradCache(session, dict.fromkeys(RowKind, InfoNCE(temperature=TEMPERATURE)), 0)
    loss = 0.0
    for index in range(batches):
        prepared = loader.prepare(0, index)
        loss += float(add_gradient(prepared, index, last=index == batches - 1, scale=1 / batches)) / batches
    found = {}
    for name, weight in session.trained_module.named_parameters():
        if weight.grad is not None:
            gradient = weight.grad.full_tensor() if hasattr(weight.grad, "full_tensor") else weight.grad
            found[name.removeprefix("module.")] = gradient.clone()
    session.optimizer.zero_grad()
    return found, loss


def environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """Return the environment variables that a cluster's scheduler sets."""
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
    embedder, data = load_model_and_data(folder)
    job = TrainJob.from_config(load(TrainConfig, None, {"cpu": True, "strategy": strategy}))
    session = Session.prepare(embedder, init_runtime(job), job)
    assert world_size() == ranks
    assert session.runtime.strategy == strategy
    for queries, batches, tokens in CASES:
        session.budget = tokens
        found, loss = gradients_of_ranks(session, data, queries, batches)
        if rank == 0:
            results.put(({name: gradient.numpy() for name, gradient in found.items()}, loss))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("ranks", "strategy"), [(2, "fsdp"), (3, "fsdp"), (2, "ddp")])
def test_gradients_of_ranks_equal_those_of_one_process(ranks, strategy, folder):
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__, "accelerate", "sentence_transformers"])  # imported once, not in each rank
    results = context.Queue()
    arguments = (ranks, runs.free_port(), strategy, folder, results)
    processes = mp.start_processes(run_rank, arguments, nprocs=ranks, join=False, start_method="forkserver")
    for queries, batches, tokens in CASES:
        expected, expected_loss = gradients_of_one_process(folder, queries, batches)
        found, loss = results.get(timeout=120)
        assert loss == pytest.approx(expected_loss, abs=1e-12)
        assert found.keys() == expected.keys()
        largest = max(float(gradient.abs().max()) for gradient in expected.values())
        error = max(float((torch.from_numpy(found[name]) - expected[name]).abs().max()) for name in expected)
        assert error < 1e-10 < 1e-3 < largest, (queries, batches, tokens)
    for process in processes.processes:  # the exit code is ignored: gloo can abort during its shutdown
        process.join()


def test_batch_has_hard_negatives_known_positives_repeated_texts_and_tokens_for_several_chunks(folder):
    _, data = load_model_and_data(folder)
    batch = BatchPlan(data.rows, BatchSettings(ROWS, NEGATIVES, 7)).batch(0, 0)
    assert len(batch.known_positives) > 0
    assert (batch.own_QC[:, 1:] >= 0).any()
    own = batch.own_QC[batch.own_QC >= 0]
    assert len(np.unique(own)) < len(own)
    assert data.texts.lengths[batch.texts].sum() > 3 * 60
