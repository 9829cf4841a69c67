"""Measure the encoding speed (tokens per second) of embedctl and of sentence-transformers with several settings.

Usage: python tests/bench/bench_encode.py CORPUS.jsonl[.gz] [--model FOLDER] [--texts N]

Without --model, the model is a BERT-base with random weights. On a CPU, everything runs in float32. On a GPU, embedctl
and sentence-transformers run in bf16, except for the default settings of sentence-transformers.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch

from embedctl.model import tiny
from embedctl.model.embedder import Embedder
from embedctl.model.similarity import normalize
from embedctl.reading.json_values import read_json_values
from embedctl.tokens.tokenize import tokenize

CUDA = torch.cuda.is_available()


def bert_base(texts: list[str], folder: str) -> str:
    """Save a BERT-base with random weights and a tokenizer trained on the texts; return the folder."""
    from transformers import BertConfig, BertModel

    tokenizer = tiny._learn_vocabulary(texts[:5000])
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measure(encode: Callable[[list[str]], Any], texts: list[str]) -> tuple[float, Any]:
    """Return the seconds of encoding the texts, without a warm-up on a part of them, and the vectors."""
    encode(texts[: min(512, len(texts) // 8)])
    begun = time.perf_counter()
    vectors = encode(texts)
    return time.perf_counter() - begun, vectors


def main() -> None:
    """Print the speed of each setting, and the ratio of embedctl to it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("--model")
    parser.add_argument("--texts", type=int, default=24_000)
    options = parser.parse_args()
    texts = [record.value["text"] for record in read_json_values(options.corpus)]
    texts = (texts * (options.texts // len(texts) + 1))[: options.texts]
    model = options.model or bert_base(texts, tempfile.mkdtemp())
    from sentence_transformers import SentenceTransformer

    embedder = Embedder.from_pretrained(model, dtype="bfloat16" if CUDA else "float32")
    default = SentenceTransformer(model, device="cuda" if CUDA else "cpu")
    tokens = int(tokenize(embedder.tokenizer, texts, embedder.max_len).lengths.sum())
    print(
        f"{len(texts):,} texts, {tokens / len(texts):.0f} tokens per text, {'packed' if embedder.packed else 'padded'}",
        flush=True,
    )
    encoders: dict[str, Callable[[list[str]], Any]] = {
        "embedctl": embedder.encode,
        "sentence-transformers, default": lambda part: default.encode(part),
    }
    if CUDA:
        bf16 = SentenceTransformer(model, device="cuda", model_kwargs={"dtype": torch.bfloat16})
        encoders["sentence-transformers, bf16, batch 256"] = lambda part: bf16.encode(part, batch_size=256)
        if find_spec("flash_attn"):  # sentence-transformers then omits the padding, as embedctl does
            unpadded = SentenceTransformer(
                model, device="cuda", model_kwargs={"dtype": torch.bfloat16, "attn_implementation": "flash_attention_2"}
            )
            name = "sentence-transformers, bf16, unpadded, batch 1024"
            encoders[name] = lambda part: unpadded.encode(part, batch_size=1024)
    else:
        encoders["sentence-transformers, batch 128"] = lambda part: default.encode(part, batch_size=128)
    seconds = {}
    for name, encode in encoders.items():
        seconds[name], vectors = measure(encode, texts)
        print(f"{name}: {seconds[name]:.1f} s, {tokens / seconds[name] / 1e3:,.0f}k tokens/s", flush=True)
        if name == "embedctl":
            reference = vectors
        else:
            cosine = (normalize(reference) * normalize(np.asarray(vectors))).sum(axis=1).min()
            ratio = seconds[name] / seconds["embedctl"]
            print(f"  embedctl is {ratio:.2f} times as fast; lowest cosine similarity of two vectors {cosine:.6f}")


if __name__ == "__main__":
    main()
