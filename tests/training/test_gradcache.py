"""Gradients of chunks and of several ranks equal those of one forward pass and of the definition (in float64)."""

from __future__ import annotations

import contextlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from embedctl.data.batches import Batch, BatchPlan
from embedctl.data.rows import RowKind
from embedctl.data.store import KINDS, RowStore
from embedctl.data.visits import BatchSettings
from embedctl.distributed.ranks import rank, world_size
from embedctl.losses.infonce import InfoNCE
from embedctl.training.gradcache import GradCache, PreparedBatch, partition_texts
from embedctl.training.targets import CandidateWeights
from tests.data.stores import row_store

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

TEXTS, SIZE = 60, 12
LENGTHS = np.random.default_rng(3).integers(2, 20, TEXTS)


class TokenModel(nn.Module):
    """A small model with dropout, whose texts are single tokens."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(TEXTS, SIZE, dtype=torch.float64)
        self.layer = nn.Linear(SIZE, SIZE, dtype=torch.float64)
        self.dropout = nn.Dropout(dropout)

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        return self.layer(self.dropout(torch.tanh(self.table(texts))))


@dataclass
class SimpleSession:
    """The methods of a session that GradCache uses."""

    model: nn.Module

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return self.model(features)

    def backward(self, scalar: torch.Tensor) -> None:
        scalar.backward()

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        return self.model.no_sync() if hasattr(self.model, "no_sync") else contextlib.nullcontext()


def rows(kinds: int = 2) -> RowStore:
    """Rows that share texts, some with several positives, some without negatives."""
    draw = np.random.default_rng(5)
    pos, neg = draw.integers(1, 3, 24), draw.integers(0, 5, 24) * (np.arange(24) % 4 > 0)
    bounds = np.concatenate([[0], np.cumsum(1 + pos + neg)])
    text = draw.integers(20, TEXTS, bounds[-1])
    text[bounds[:-1]] = np.arange(24) % 20
    kind = np.where(neg > 0, KINDS.index(RowKind.HARD), KINDS.index(RowKind.IN_BATCH)).astype(np.uint8)
    return row_store(kind, np.zeros(24, np.int32), bounds, pos, text, np.full(bounds[-1], np.nan, np.float32))


def batches(accumulation: int = 1) -> list[Batch]:
    plan = BatchPlan(rows(), BatchSettings(12 // accumulation, 3, 7))
    return [plan.batch(0, index) for index in range(accumulation)]


def prepare(batch: Batch, budget: int, in_batch: str = "all") -> PreparedBatch:
    lengths = LENGTHS[batch.texts]
    partition = partition_texts(lengths, budget, padded=False, ranks=world_size(), rank=rank())
    chunks = [chunk if len(chunk) else partition.order[:1] for chunk in partition.chunks]
    features = [torch.from_numpy(batch.texts[chunk]) for chunk in chunks]
    return PreparedBatch(batch, partition, features, CandidateWeights.from_batch(batch, in_batch), 0)


def gradients(
    model: nn.Module, budget: int, *, accumulation: int = 1, in_batch: str = "all"
) -> tuple[list[torch.Tensor], float]:
    losses = dict.fromkeys(RowKind, InfoNCE(temperature=0.1))
    add_gradient = GradCache(SimpleSession(model), losses, 11)
    total = 0.0
    for index, batch in enumerate(batches(accumulation)):
        prepared, last = prepare(batch, budget, in_batch), index == accumulation - 1
        total += float(add_gradient(prepared, index, last=last, scale=1 / accumulation)) / accumulation
    return [weight.grad.clone() for weight in model.parameters()], total


def loss_by_definition(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return InfoNCE of each query over all distinct documents except its other known positives."""
    known = {tuple(pair) for pair in batch.known_positives.tolist()}
    losses = []
    for query in range(len(batch)):
        own = int(batch.own_QC[query, 0])
        columns = [own, *(d for d in range(len(batch.document_D)) if d != own and (query, d) not in known)]
        texts = torch.from_numpy(batch.texts)
        query_H = normalize(model(texts[batch.query_Q[query]]), dim=-1)
        document_DH = normalize(model(texts[batch.document_D[columns]]), dim=-1)
        losses.append(cross_entropy((document_DH @ query_H / 0.1)[None], torch.zeros(1, dtype=torch.long)))
    return torch.stack(losses).mean()


def close(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(float((a - b).abs().max()) < 1e-10 for a, b in zip(first, second, strict=True))


def test_loss_and_gradient_equal_the_definition():
    (batch,) = batches()
    assert len(batch.known_positives) > 0
    found, loss = gradients(TokenModel(0.0), 10**6)
    model = TokenModel(0.0)
    expected = loss_by_definition(model, batch)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), abs=1e-12)
    assert close(found, [weight.grad for weight in model.parameters()])


@pytest.mark.parametrize("in_batch", ["all", "hard", "none"])
@pytest.mark.parametrize("budget", [25, 60, 200])
def test_gradient_of_chunks_equals_that_of_one_pass(budget, in_batch):
    single, loss = gradients(TokenModel(0.0), 10**6, in_batch=in_batch)
    chunked, chunked_loss = gradients(TokenModel(0.0), budget, in_batch=in_batch)
    assert loss == pytest.approx(chunked_loss, abs=1e-12)
    assert close(single, chunked)


def test_both_passes_of_a_chunk_have_the_same_dropout():
    """The reference keeps the graphs of the chunks, so it encodes each chunk once."""
    (batch,) = batches()
    prepared = prepare(batch, 40)
    assert len(prepared.features) > 3
    found, _ = gradients(TokenModel(0.3), 40)
    model = TokenModel(0.3)
    add_gradient = GradCache(SimpleSession(model), dict.fromkeys(RowKind, InfoNCE(temperature=0.1)), 11)
    parts = [add_gradient._encode(prepared, 0, chunk) for chunk in range(len(prepared.features))]
    leaf = torch.cat(parts).detach().requires_grad_()
    add_gradient._loss(leaf, prepared, 1.0)
    torch.cat(parts).backward(leaf.grad)
    assert close(found, [weight.grad for weight in model.parameters()])


def test_the_loss_in_blocks_equals_the_loss_in_one_block(monkeypatch):
    one_block, loss = gradients(TokenModel(0.0), 10**6)
    monkeypatch.setattr("embedctl.training.gradcache.MAX_SIMILARITIES", 100)
    blocks, blocks_loss = gradients(TokenModel(0.0), 10**6)
    assert loss == pytest.approx(blocks_loss, abs=1e-12)
    assert close(one_block, blocks)


class SavedMemory:
    """Current and peak number of bytes that graphs save for the backward pass."""

    def __init__(self) -> None:
        self.current, self.peak = 0, 0

    def measure(self) -> contextlib.AbstractContextManager[None]:
        return torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: SavedTensor(tensor.detach(), self), lambda saved: saved.tensor
        )


class SavedTensor:
    """A tensor that a graph saved; its memory is counted until the graph releases it."""

    def __init__(self, tensor: torch.Tensor, memory: SavedMemory) -> None:
        self.tensor, self.memory, self.size = tensor, memory, tensor.numel() * tensor.element_size()
        memory.current += self.size
        memory.peak = max(memory.peak, memory.current)

    def __del__(self) -> None:
        self.memory.current -= self.size


@dataclass
class MeasuredSession(SimpleSession):
    """Measures the memory that the model's graphs save, without that of the loss."""

    memory: SavedMemory

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        with self.memory.measure():
            return self.model(features)


def peak_memory(queries: int, budget: int) -> tuple[int, int]:
    """Return the peak bytes that the model's graphs and the loss save, for a batch of pairs of texts with 8 tokens."""
    bounds = np.arange(0, 2 * queries + 1, 2)
    none, kind = np.full(2 * queries, np.nan, np.float32), np.zeros(queries, np.uint8)
    store = row_store(kind, np.zeros(queries, np.int32), bounds, np.ones(queries, int), np.arange(2 * queries), none)
    batch = BatchPlan(store, BatchSettings(queries, 0, 7)).batch(0, 0)
    partition = partition_texts(np.full(len(batch.texts), 8), budget, padded=False, ranks=1, rank=0)
    features = [torch.from_numpy(batch.texts[chunk] % TEXTS) for chunk in partition.chunks]
    model, loss = SavedMemory(), SavedMemory()
    session = MeasuredSession(TokenModel(0.1), model)
    add_gradient = GradCache(session, dict.fromkeys(RowKind, InfoNCE(temperature=0.1)), 11)
    with loss.measure():
        add_gradient(PreparedBatch(batch, partition, features, CandidateWeights.from_batch(batch, "all"), 0), 0)
    assert model.current == 0
    return model.peak, loss.peak


def test_memory_depends_on_the_chunk_and_not_on_the_batch(monkeypatch):
    """In chunks, only the vectors of the batch and one block of similarities are saved, not all activations."""
    similarities = 1 << 18
    monkeypatch.setattr("embedctl.training.gradcache.MAX_SIMILARITIES", similarities)
    sizes = (16, 256, 2048)
    model, loss = zip(*(peak_memory(queries, budget=128) for queries in sizes), strict=True)
    assert len(set(model)) == 1
    single_pass, _ = peak_memory(sizes[-1], budget=10**6)
    assert single_pass > 200 * model[-1]
    vectors = 2 * sizes[-1] * SIZE * 8
    assert loss[-1] < 8 * (vectors + similarities * 8)


def test_accumulated_gradient_is_the_mean_over_the_batches():
    found, _ = gradients(TokenModel(0.0), 10**6, accumulation=2)
    model = TokenModel(0.0)
    sum(loss_by_definition(model, batch) / 2 for batch in batches(2)).backward()
    assert close(found, [weight.grad for weight in model.parameters()])


CASES = [(10**6, 1), (15, 1), (15, 2), (1, 1)]  # tokens per chunk, batches per step


def run_rank(rank: int, ranks: int, port: int, results) -> None:
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    for budget, accumulation in CASES:
        found, loss = gradients(DistributedDataParallel(TokenModel(0.0)), budget, accumulation=accumulation)
        if rank == 0:
            results.put(([gradient.numpy() for gradient in found], loss))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("ranks", [2, 3])
def test_gradients_of_ranks_equal_those_of_one_process(ranks):
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__, "accelerate", "sentence_transformers"])  # imported once, not in each rank
    results = context.Queue()
    arguments = (ranks, runs.free_port(), results)
    processes = mp.start_processes(run_rank, arguments, nprocs=ranks, join=False, start_method="forkserver")
    for budget, accumulation in CASES:
        expected, expected_loss = gradients(TokenModel(0.0), 10**6, accumulation=accumulation)
        found, loss = results.get(timeout=120)
        assert loss == pytest.approx(expected_loss, abs=1e-12)
        assert close(expected, [torch.from_numpy(gradient) for gradient in found]), (budget, accumulation)
    for process in processes.processes:  # the exit code is ignored: gloo can abort during its shutdown
        process.join()


def test_all_ranks_have_equally_many_chunks_and_each_text_is_in_one_chunk():
    lengths = np.random.default_rng(9).integers(1, 50, 31)
    partitions = [partition_texts(lengths, 40, padded=True, ranks=3, rank=number) for number in range(3)]
    assert len({len(partition.chunks) for partition in partitions}) == 1
    texts = np.concatenate([np.concatenate(partition.chunks) for partition in partitions])
    assert sorted(texts.tolist()) == list(range(31))
    assert (texts == partitions[0].order).all()
