"""Measure the training speed (rows per second) of embedctl, of sentence-transformers' trainer and of RAG-Retrieval.

Usage: python tests/bench/bench_train.py DATA.jsonl [--model FOLDER] [--steps N] [--only ours,st,rag]
       python tests/bench/bench_train.py DATA.jsonl --model MINILM --batch-size 4 --neg-nums 7 --once   (on a CPU)

`ours` is embedctl, `st` is sentence-transformers, `rag` is RAG-Retrieval. Each runs in a separate process. Without
--model, the model is a BERT-base with random weights and a tokenizer trained on the data.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch

BATCH, NEGATIVES, QUERY_LEN, PASSAGE_LEN, TEMPERATURE, LR = 16, 15, 128, 512, 0.02, 2e-5
PEAK_FLOPS = 790e12  # per second, measured with a large bf16 matrix product on the GPU of the benchmark
CUDA = torch.cuda.is_available()


def read_rows(path: str) -> list[dict[str, Any]]:
    """Return one row per positive, with exactly NEGATIVES negatives."""
    draw = random.Random(0)
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for positive in row["pos"]:
            neg = row["neg"] if len(row["neg"]) >= NEGATIVES else row["neg"] * NEGATIVES
            rows.append({"query": row["query"], "pos": [positive], "neg": draw.sample(neg, NEGATIVES)})
    return rows


def bert_base(rows: list[dict[str, Any]], folder: str) -> str:
    """Save a BERT-base with random weights and a tokenizer trained on the rows; return the folder."""
    from transformers import BertConfig, BertModel

    from embedctl.model import tiny

    tiny.VOCABULARY = 21128
    tokenizer = tiny._learn_vocabulary(text for row in rows for text in (row["query"], *row["pos"], *row["neg"]))
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=21128)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows_per_second(step: Callable[[], int], steps: int, warmup: int) -> float:
    """Return the rows per second of `step`, which returns the number of its rows, after `warmup` calls."""
    for _ in range(warmup):
        step()
    if CUDA:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start_time, rows = time.perf_counter(), 0
    for _ in range(steps):
        rows += step()
    if CUDA:
        torch.cuda.synchronize()
    return rows / (time.perf_counter() - start_time)


def measure_embedctl(
    model: str, data: str, steps: int, warmup: int, settings: dict[str, Any]
) -> tuple[float, dict[str, float]]:
    """Measure training steps of embedctl, whose batches are prepared in a thread as in `embedctl train`.

    Returns:
        Rows per second, and further results: tokens per second and per step, share of the peak FLOPS, GPU memory (GB).
    """
    from embedctl.config import TrainConfig, load
    from embedctl.distributed.ranks import world_size
    from embedctl.losses.select import losses_for
    from embedctl.training import worker
    from embedctl.training.batch_loader import BatchLoader, Schedule
    from embedctl.training.gradcache import GradCache
    from embedctl.training.job import TrainJob
    from embedctl.training.optim import set_lr
    from embedctl.training.runtime import init_runtime
    from embedctl.training.session import Session

    flags = {
        "model_name_or_path": model,
        "dataset": [data],
        "batch_size": BATCH,
        "neg_nums": NEGATIVES,
        "lr": LR,
        "in_batch": "hard",
    } | settings
    job = TrainJob.from_config(load(TrainConfig, None, flags))
    runtime = init_runtime(job)
    embedder = worker.load_model(job)
    text_settings = worker.text_settings_of(job, embedder)
    stored = worker.open_or_build([data], embedder.tokenizer, text_settings, Path(tempfile.mkdtemp()))
    session = Session.prepare(embedder, runtime, job)
    plan = worker.plan_batches(job, stored, BATCH * world_size())
    loader = BatchLoader(session, plan, stored.texts, job.loss.in_batch)
    add_gradient = GradCache(session, losses_for(job.loss), 0)
    prepared_steps = loader.steps(Schedule(plan.batches_per_epoch, 1, 1, steps + warmup + 1), 0)
    tokens: list[int] = []

    def step() -> int:
        number, (prepared,) = next(prepared_steps)
        set_lr(session.optimizer, LR)
        add_gradient(prepared, number)
        session.optimizer_step(1.0)
        tokens.append(prepared.tokens)
        return len(prepared.batch)

    rate = rows_per_second(step, steps, warmup)
    if os.environ.get("PROFILE"):
        with torch.profiler.profile() as profile:
            step()
        print(
            profile.key_averages().table(sort_by="self_cuda_time_total", row_limit=28, max_name_column_width=70),
            file=sys.stderr,
        )
    measured = tokens[warmup : warmup + steps]
    tokens_per_s = sum(measured) / steps / BATCH * rate
    facts = {"tokens_per_s": tokens_per_s, "tokens_per_step": sum(measured) / steps}
    facts["share_of_peak"] = tokens_per_s * flops_per_token(session, stored) / PEAK_FLOPS
    if CUDA:
        facts["gb"] = torch.cuda.max_memory_allocated() / 1e9
    return rate, facts


def flops_per_token(session: Any, stored: Any) -> float:
    """Return the floating-point operations per token of one forward and backward pass.

    They are those of the weight matrices of the layers and of attention, for the mean squared length of the texts.
    """
    config = session.embedder.backbone.config
    layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    lengths = stored.texts.lengths[:].astype(float)
    attention = 2 * config.hidden_size * (lengths**2).sum() / lengths.sum()
    return 3 * 2 * config.num_hidden_layers * (layer + attention)


def measure_rag_retrieval(model: str, rows: list[dict[str, Any]], steps: int, warmup: int) -> float:
    """Measure the training loop of RAG-Retrieval and return rows per second.

    It pads texts to the maximum lengths, calls the model three times per step and uses fp16 with a gradient scaler
    (float32 on a CPU).
    """
    from sentence_transformers import SentenceTransformer
    from torch.nn.functional import cross_entropy, normalize

    device = "cuda" if CUDA else "cpu"
    encoder = SentenceTransformer(model, device=device).train()
    scaler = torch.amp.GradScaler(device, enabled=CUDA)
    decay = [w for n, w in encoder.named_parameters() if not n.endswith("bias") and "LayerNorm" not in n]
    no_decay = [w for n, w in encoder.named_parameters() if n.endswith("bias") or "LayerNorm" in n]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": no_decay, "weight_decay": 0.0}], lr=LR
    )
    draw = random.Random(1)

    def vectors(texts: list[str], length: int) -> torch.Tensor:
        tokens = encoder.tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return normalize(encoder(dict(tokens.to(device)))["sentence_embedding"], dim=-1)

    def step() -> int:
        batch = draw.sample(rows, BATCH)
        with torch.autocast(device, torch.float16, enabled=CUDA):
            query = vectors([row["query"] for row in batch], QUERY_LEN)
            positive = vectors([row["pos"][0] for row in batch], PASSAGE_LEN)
            negative = vectors([text for row in batch for text in row["neg"]], PASSAGE_LEN)
            logits = torch.cat([(query * positive).sum(1, keepdim=True), query @ negative.T], dim=1) / TEMPERATURE
            loss = cross_entropy(logits, torch.zeros(len(batch), dtype=torch.long, device=device))
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        return len(batch)

    return rows_per_second(step, steps, warmup)


def measure_sentence_transformers(model: str, rows: list[dict[str, Any]], steps: int, warmup: int) -> float:
    """Measure sentence-transformers' trainer (bf16, fused AdamW, its in-batch loss) and return rows per second."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    columns: dict[str, list[str]] = {
        "anchor": [row["query"] for row in rows],
        "positive": [row["pos"][0] for row in rows],
    }
    columns |= {f"negative_{number}": [row["neg"][number] for row in rows] for number in range(NEGATIVES)}
    encoder = SentenceTransformer(model, device="cuda" if CUDA else "cpu")
    encoder.max_seq_length = PASSAGE_LEN
    times: list[float] = []

    class StepTimer(TrainerCallback):
        def on_train_begin(self, *_args: Any, **_kwargs: Any) -> None:
            times.append(time.perf_counter())

        def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
            if CUDA:
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    arguments = SentenceTransformerTrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        max_steps=steps + warmup,
        learning_rate=LR,
        bf16=CUDA,
        optim="adamw_torch_fused",
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        dataloader_num_workers=4 if CUDA else 0,
        dataloader_drop_last=True,
        disable_tqdm=True,
        use_cpu=not CUDA,
    )
    loss = MultipleNegativesRankingLoss(encoder, scale=1 / TEMPERATURE)
    trainer = SentenceTransformerTrainer(
        encoder, arguments, train_dataset=Dataset.from_dict(columns), loss=loss, callbacks=[StepTimer()]
    )
    trainer.train()
    return steps * BATCH / (times[-1] - times[warmup])


def measure(name: str, model: str, data: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure one tool in this process and return its results by name."""
    rows = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]
    if name == "st":
        return {"rows_per_s": measure_sentence_transformers(model, rows, options.steps, options.warmup)}
    if name == "rag":
        return {"rows_per_s": measure_rag_retrieval(model, rows, options.steps, options.warmup)}
    rate, facts = measure_embedctl(model, data, options.steps, options.warmup, json.loads(name.removeprefix("ours")))
    return {"rows_per_s": rate} | facts


def main() -> None:
    """Measure each selected tool in a separate process, and print results and ratios."""
    global BATCH, NEGATIVES
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--model")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--only", default="ours,st,rag")
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--neg-nums", type=int, default=NEGATIVES)
    parser.add_argument(
        "--once",
        action="store_true",
        help="use each row once, without warm-up, so that all tools train on the same rows",
    )
    parser.add_argument(
        "--ours",
        action="append",
        default=[],
        help='options of embedctl as JSON, e.g. {"compile": true}; can be repeated',
    )
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # name of the tool that this process measures
    options = parser.parse_args()
    BATCH, NEGATIVES = options.batch_size, options.neg_nums
    if options.measure:
        facts = measure(options.measure, options.model, options.data, options)
        print("RESULT " + json.dumps(facts | {"cpu_s": time.process_time(), "threads": torch.get_num_threads()}))
        return
    rows, folder = read_rows(options.data), Path(tempfile.mkdtemp())
    if options.once:
        options.warmup = 0
        rows = random.Random(0).sample(rows, BATCH * options.steps)
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    model = options.model or bert_base(rows, str(folder / "model"))
    selected = options.only.split(",")
    names = [f"ours{settings}" for settings in options.ours or ["{}"]] if "ours" in selected else []
    rates: dict[str, float] = {}
    for name in [*names, *(other for other in ("st", "rag") if other in selected)]:
        command = [sys.executable, __file__, str(data), "--model", model, "--measure", name]
        command += ["--steps", str(options.steps), "--warmup", str(options.warmup)]
        command += ["--batch-size", str(BATCH), "--neg-nums", str(NEGATIVES)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        results = [line for line in ended.stdout.splitlines() if line.startswith("RESULT ")]
        if not results:
            print(f"{name} failed:", *ended.stderr.splitlines()[-12:], sep="\n  ", flush=True)
            continue
        if os.environ.get("PROFILE"):
            print(ended.stderr[-9000:])
        facts = json.loads(results[0].removeprefix("RESULT "))
        rates[name] = facts["rows_per_s"]
        print(
            f"{name.removesuffix('{}')}:",
            {key: round(value, 3) for key, value in facts.items()},
            *[line for line in ended.stderr.splitlines() if "warning:" in line],
            flush=True,
        )
    for other in ("st", "rag"):
        for name, rate in rates.items():
            if other in rates and name.startswith("ours"):
                print(f"{name.removesuffix('{}')} is {rate / rates[other]:.2f} times as fast as {other}")


if __name__ == "__main__":
    main()
