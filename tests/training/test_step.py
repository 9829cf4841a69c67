"""The step: chunked equals direct, several ranks equal one, and both equal the plain computation; float64."""

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
from embedctl.data.visits import Mix
from embedctl.distributed import ranks as gather
from embedctl.losses.infonce import InfoNCE
from embedctl.training.step import Prepared, Stepper, deal
from embedctl.training.targets import Weights
from tests.data.stores import row_store

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

TEXTS, SIZE = 60, 12
LENGTHS = np.random.default_rng(3).integers(2, 20, TEXTS)


class Bag(nn.Module):
    """A small model of bags of tokens with dropout."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(TEXTS, SIZE, dtype=torch.float64)
        self.layer = nn.Linear(SIZE, SIZE, dtype=torch.float64)
        self.dropout = nn.Dropout(dropout)

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        return self.layer(self.dropout(torch.tanh(self.table(texts))))


@dataclass
class Plain:
    """What the step needs of a session."""

    model: nn.Module

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return self.model(features)

    def backward(self, scalar: torch.Tensor) -> None:
        scalar.backward()

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        return self.model.no_sync() if hasattr(self.model, "no_sync") else contextlib.nullcontext()


def rows(kinds: int = 2) -> RowStore:
    """Rows whose texts repeat across rows, some of them with several positives, some without negatives."""
    draw = np.random.default_rng(5)
    pos, neg = draw.integers(1, 3, 24), draw.integers(0, 5, 24) * (np.arange(24) % 4 > 0)
    bounds = np.concatenate([[0], np.cumsum(1 + pos + neg)])
    text = draw.integers(20, TEXTS, bounds[-1])
    text[bounds[:-1]] = np.arange(24) % 20
    kind = np.where(neg > 0, KINDS.index(RowKind.HARD), KINDS.index(RowKind.IN_BATCH)).astype(np.uint8)
    return row_store(kind, np.zeros(24, np.int32), bounds, pos, text, np.full(bounds[-1], np.nan, np.float32))


def batches(accumulation: int = 1) -> list[Batch]:
    plan = BatchPlan(rows(), Mix(12 // accumulation, 3, 7))
    return [plan.batch(0, step) for step in range(accumulation)]


def prepare(batch: Batch, budget: int, in_batch: str = "all") -> Prepared:
    share = deal(LENGTHS[batch.texts], budget, padded=False, ranks=gather.world(), own=gather.rank())
    features = [torch.from_numpy(batch.texts[chunk if len(chunk) else share.order[:1]]) for chunk in share.chunks]
    return Prepared(batch, share, features, Weights.of(batch, in_batch), 0)


def gradients(
    model: nn.Module, budget: int, *, accumulation: int = 1, in_batch: str = "all"
) -> tuple[list[torch.Tensor], float]:
    losses = dict.fromkeys(RowKind, InfoNCE(temperature=0.1))
    stepper = Stepper(Plain(model), losses, 11)
    parts = batches(accumulation)
    total = 0.0
    for place, batch in enumerate(parts):
        last = place == len(parts) - 1
        total += float(stepper(prepare(batch, budget, in_batch), place, last=last, scale=1 / len(parts))) / len(parts)
    return [weight.grad.clone() for weight in model.parameters()], total


def written_out(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The loss by hand: every query against all distinct documents but the known positives of others."""
    known = {tuple(pair) for pair in batch.known_pairs.tolist()}
    losses = []
    for query in range(len(batch)):
        own = int(batch.own_QC[query, 0])
        columns = [own, *(d for d in range(len(batch.document_D)) if d != own and (query, d) not in known)]
        texts = torch.from_numpy(batch.texts)
        asked = normalize(model(texts[batch.query_Q[query]]), dim=-1)
        found = normalize(model(texts[batch.document_D[columns]]), dim=-1)
        losses.append(cross_entropy((found @ asked / 0.1)[None], torch.zeros(1, dtype=torch.long)))
    return torch.stack(losses).mean()


def close(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(float((a - b).abs().max()) < 1e-10 for a, b in zip(first, second, strict=True))


def test_the_step_is_the_written_loss():
    (batch,) = batches()
    assert len(batch.known_pairs) > 0
    model, again = Bag(0.0), Bag(0.0)
    found, loss = gradients(model, 10**6)
    expected = written_out(again, batch)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), abs=1e-12)
    assert close(found, [weight.grad for weight in again.parameters()])


@pytest.mark.parametrize("in_batch", ["all", "hard", "none"])
@pytest.mark.parametrize("budget", [25, 60, 200])
def test_chunks_give_the_direct_gradient(budget, in_batch):
    direct, loss = gradients(Bag(0.0), 10**6, in_batch=in_batch)
    chunked, chunked_loss = gradients(Bag(0.0), budget, in_batch=in_batch)
    assert loss == pytest.approx(chunked_loss, abs=1e-12)
    assert close(direct, chunked)


def test_chunks_replay_dropout():
    """Against the same chunks with their graphs kept."""
    (batch,) = batches()
    prepared = prepare(batch, 40)
    assert len(prepared.features) > 3
    found, _ = gradients(Bag(0.3), 40)
    model = Bag(0.3)
    stepper = Stepper(Plain(model), dict.fromkeys(RowKind, InfoNCE(temperature=0.1)), 11)
    parts = [
        stepper._encode(f, 0, place, len(prepared.share.chunks[place])) for place, f in enumerate(prepared.features)
    ]
    leaf = torch.cat(parts).detach().requires_grad_()
    stepper._loss(leaf, prepared, 1.0)
    torch.cat(parts).backward(leaf.grad)
    assert close(found, [weight.grad for weight in model.parameters()])


def test_a_large_loss_is_computed_in_blocks(monkeypatch):
    whole, loss = gradients(Bag(0.0), 10**6)
    monkeypatch.setattr("embedctl.training.step.LOSS_CELLS", 100)
    blocks, blocks_loss = gradients(Bag(0.0), 10**6)
    assert loss == pytest.approx(blocks_loss, abs=1e-12)
    assert close(whole, blocks)


class Meter:
    """Bytes that graphs hold on to for their backward pass: now, and at most."""

    def __init__(self) -> None:
        self.now, self.peak = 0, 0

    def watch(self) -> contextlib.AbstractContextManager[None]:
        return torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: Held(tensor.detach(), self), lambda held: held.tensor
        )


class Held:
    """A tensor that a graph saved; it counts until the graph lets go of it."""

    def __init__(self, tensor: torch.Tensor, meter: Meter) -> None:
        self.tensor, self.meter, self.size = tensor, meter, tensor.numel() * tensor.element_size()
        meter.now += self.size
        meter.peak = max(meter.peak, meter.now)

    def __del__(self) -> None:
        self.meter.now -= self.size


@dataclass
class Metered(Plain):
    """Counts what the model's graphs hold, apart from the loss."""

    meter: Meter

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        with self.meter.watch():
            return self.model(features)


def held_at_most(queries: int, budget: int) -> tuple[int, int]:
    """Bytes held by the model's graphs, and by the loss, in a step of pairs of texts of 8 tokens."""
    bounds = np.arange(0, 2 * queries + 1, 2)
    none, kind = np.full(2 * queries, np.nan, np.float32), np.zeros(queries, np.uint8)
    store = row_store(kind, np.zeros(queries, np.int32), bounds, np.ones(queries, int), np.arange(2 * queries), none)
    batch = BatchPlan(store, Mix(queries, 0, 7)).batch(0, 0)
    share = deal(np.full(len(batch.texts), 8), budget, padded=False, ranks=1, own=0)
    features = [torch.from_numpy(batch.texts[chunk] % TEXTS) for chunk in share.chunks]
    model, loss = Meter(), Meter()
    stepper = Stepper(Metered(Bag(0.1), model), dict.fromkeys(RowKind, InfoNCE(temperature=0.1)), 11)
    with loss.watch():
        stepper(Prepared(batch, share, features, Weights.of(batch, "all"), 0), 0)
    assert model.now == 0
    return model.peak, loss.peak


def test_memory_follows_the_chunk_and_not_the_batch(monkeypatch):
    """Of the batch only vectors and one block of similarities are held; directly, every text's activations are."""
    cells = 1 << 18
    monkeypatch.setattr("embedctl.training.step.LOSS_CELLS", cells)
    sizes = (16, 256, 2048)
    model, loss = zip(*(held_at_most(queries, budget=128) for queries in sizes), strict=True)
    assert len(set(model)) == 1
    direct, _ = held_at_most(sizes[-1], budget=10**6)
    assert direct > 200 * model[-1]
    vectors = 2 * sizes[-1] * SIZE * 8
    assert loss[-1] < 8 * (vectors + cells * 8)


def test_accumulation_is_the_mean_of_its_batches():
    found, _ = gradients(Bag(0.0), 10**6, accumulation=2)
    model = Bag(0.0)
    sum(written_out(model, batch) / 2 for batch in batches(2)).backward()
    assert close(found, [weight.grad for weight in model.parameters()])


CASES = [(10**6, 1), (15, 1), (15, 2), (1, 1)]  # tokens of a chunk, batches an update


def run_rank(rank: int, ranks: int, port: int, results) -> None:
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    for budget, accumulation in CASES:
        found, loss = gradients(DistributedDataParallel(Bag(0.0)), budget, accumulation=accumulation)
        if rank == 0:
            results.put(([gradient.numpy() for gradient in found], loss))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_give_the_gradient_of_one_process(ranks):
    context = mp.get_context("forkserver")
    context.set_forkserver_preload([__name__, "accelerate", "sentence_transformers"])  # once, not by each rank
    results = context.Queue()
    arguments = (ranks, runs.free_port(), results)
    processes = mp.start_processes(run_rank, arguments, nprocs=ranks, join=False, start_method="forkserver")
    for budget, accumulation in CASES:
        expected, expected_loss = gradients(Bag(0.0), 10**6, accumulation=accumulation)
        found, loss = results.get(timeout=120)
        assert loss == pytest.approx(expected_loss, abs=1e-12)
        assert close(expected, [torch.from_numpy(gradient) for gradient in found]), (budget, accumulation)
    for process in processes.processes:  # gloo may abort while it shuts down, after the results are out
        process.join()


def test_every_rank_has_as_many_chunks_and_all_texts_are_dealt():
    lengths = np.random.default_rng(9).integers(1, 50, 31)
    shares = [deal(lengths, 40, padded=True, ranks=3, own=rank) for rank in range(3)]
    assert len({len(share.chunks) for share in shares}) == 1
    dealt = np.concatenate([np.concatenate(share.chunks) for share in shares])
    assert sorted(dealt.tolist()) == list(range(31))
    assert (dealt == shares[0].order).all()
