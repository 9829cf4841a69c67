"""Tokens a second of encoding: ours beside sentence-transformers, default and its best setting, in one run.

By hand: python tests/bench/bench_encode.py CORPUS.jsonl[.gz] [--model FOLDER] [--texts N]. Without --model a BERT-base
of random weights stands in. On a CPU everything runs in float32; on a GPU ours and sentence-transformers' best run in
bf16.
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
from embedctl.reading.json_values import read_json_values
from embedctl.search.vectors import normalize
from embedctl.tokens.tokenize import tokenize

CUDA = torch.cuda.is_available()


def bert_base(texts: list[str], folder: str) -> str:
    """A random BERT-base with a tokenizer learnt from the texts."""
    from transformers import BertConfig, BertModel

    tokenizer = tiny._learn_vocabulary(texts[:5000])
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def timed(encode: Callable[[list[str]], Any], texts: list[str]) -> tuple[float, Any]:
    """Seconds of encoding the texts, after a warm-up on a few, and the vectors."""
    encode(texts[: min(512, len(texts) // 8)])
    begun = time.perf_counter()
    vectors = encode(texts)
    return time.perf_counter() - begun, vectors


def main() -> None:
    """Print rates and ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("--model")
    parser.add_argument("--texts", type=int, default=24_000)
    options = parser.parse_args()
    texts = [document.value["text"] for document in read_json_values(options.corpus)]
    texts = (texts * (options.texts // len(texts) + 1))[: options.texts]
    model = options.model or bert_base(texts, tempfile.mkdtemp())
    from sentence_transformers import SentenceTransformer

    embedder = Embedder.from_pretrained(model, dtype="bfloat16" if CUDA else "float32")
    theirs = SentenceTransformer(model, device="cuda" if CUDA else "cpu")
    tokens = int(tokenize(embedder.tokenizer, texts, embedder.max_len).lengths.sum())
    print(
        f"{len(texts):,} texts, {tokens / len(texts):.0f} tokens each, {'packed' if embedder.packed else 'padded'}",
        flush=True,
    )
    contestants: dict[str, Callable[[list[str]], Any]] = {
        "ours": embedder.encode,
        "st default": lambda part: theirs.encode(part),
    }
    if CUDA:
        best = SentenceTransformer(model, device="cuda", model_kwargs={"dtype": torch.bfloat16})
        contestants["st bf16, batch 256"] = lambda part: best.encode(part, batch_size=256)
        if find_spec("flash_attn"):  # sentence-transformers then omits the padding, as embedctl does
            unpadded = SentenceTransformer(
                model, device="cuda", model_kwargs={"dtype": torch.bfloat16, "attn_implementation": "flash_attention_2"}
            )
            contestants["st bf16, unpadded, batch 1024"] = lambda part: unpadded.encode(part, batch_size=1024)
    else:
        contestants["st batch 128"] = lambda part: theirs.encode(part, batch_size=128)
    seconds = {}
    for name, encode in contestants.items():
        seconds[name], vectors = timed(encode, texts)
        print(f"{name}: {seconds[name]:.1f} s, {tokens / seconds[name] / 1e3:,.0f}k tokens/s", flush=True)
        if name == "ours":
            reference = vectors
        else:
            cosine = (normalize(reference) * normalize(np.asarray(vectors))).sum(axis=1).min()
            print(f"  ours / {name}: {seconds[name] / seconds['ours']:.2f}; lowest cosine of two vectors {cosine:.6f}")


if __name__ == "__main__":
    main()
