"""Run a job of encoding: the model, its vectors in the output, an index beside it, and what is printed at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedctl import console
from embedctl.distributed.ranks import is_main
from embedctl.encoding.encoder import Encoder, Tally
from embedctl.encoding.job import EncodeJob
from embedctl.errors import ConfigError
from embedctl.files import atomic_folder
from embedctl.model.embedder import Embedder
from embedctl.model.onnx import RUNTIMES, use_backend
from embedctl.reading.readers import count_texts, read_texts
from embedctl.resources import cache_folder
from embedctl.search.index_folder import index_folder_for, write_index
from embedctl.storage.quantization import Quantizer
from embedctl.storage.shards import ShardFolder
from embedctl.storage.textmap import store_texts


@dataclass(frozen=True)
class EncodeResult:
    """What a job did."""

    tally: Tally  # the texts, those of other ranks included
    dim: int  # dimensions of a vector
    index: dict[str, Any] | None  # the manifest of the index, if one was asked for; rank 0 alone has it
    seconds: float  # without the loading of the model


def encode(job: EncodeJob) -> EncodeResult:
    """Encode the input to the output. With several ranks each of them calls this, and rank 0 writes the index.

    Raises:
        ConfigError: the model has too few dimensions, or the output can't be written or is another's.
        DataError: something in the input is no text.
        ModelError: the model can't be loaded, or gives a vector that is not finite.
    """
    embedder = load_model(job)
    prompt = embedder.resolve_prompt(job.prompt_name, job.prompt)
    encoder = Encoder(embedder, prompt, job.dim, job.batch_tokens, Quantizer(job.dtype))
    begun = time.monotonic()
    try:
        tally, index = write(job, encoder, read_texts(job.input, job.field))
    except OSError as cause:
        message = f"--output {job.output_name}: can't be written: {cause.strerror or cause}"
        raise ConfigError(message, "check the folder and the free space") from cause
    return EncodeResult(tally, job.dim or embedder.dimension, index, time.monotonic() - begun)


def load_model(job: EncodeJob) -> Embedder:
    """The model.

    Raises:
        ConfigError: it has fewer dimensions than asked for.
        ModelError: it can't be loaded.
    """
    embedder = Embedder.from_pretrained(
        job.model, device=job.device, dtype=job.precision, trust_remote_code=job.trust_remote_code, max_len=job.max_len
    )
    if job.dim and job.dim > embedder.dimension:
        raise ConfigError(f"--dim {job.dim}: the model has {embedder.dimension} dimensions", "choose a smaller --dim")
    if job.backend in RUNTIMES:
        use_backend(embedder, job.backend, cache_folder("onnx"))
    return embedder


def write(job: EncodeJob, encoder: Encoder, texts: Iterator[str]) -> tuple[Tally, dict[str, Any] | None]:
    """Write the vectors of texts and, on rank 0, the index that the job asks for, with the texts beside it."""
    recipe = recipe_of(job, encoder) if job.sharded or job.index else {}
    if job.index is None or not is_main():
        return write_vectors(job, encoder, recipe, texts), None
    with atomic_folder(index_folder_for(job.output)) as folder:
        tally = write_vectors(job, encoder, recipe, store_texts(texts, folder))
        model = str(Path(job.model).resolve()) if Path(job.model).is_dir() else job.model
        return tally, write_index(folder, job.output, job.index, {**recipe, "name": model})


def write_vectors(job: EncodeJob, encoder: Encoder, recipe: dict[str, Any], texts: Iterator[str]) -> Tally:
    """Write the vectors of texts to the output; with several ranks, those shards that this rank owns."""
    total = count_texts(job.input, job.field)
    if not job.sharded:
        return encoder.to_file(texts, job.output, total)
    return encoder.to_shards(texts, ShardFolder(job.output, recipe, overwrite=job.overwrite), job.shard_rows, total)


def recipe_of(job: EncodeJob, encoder: Encoder) -> dict[str, Any]:
    """What the vectors follow from beside the texts, for manifests."""
    return {
        "model": encoder.embedder.weights_hash(),
        "prompt": encoder.prompt,
        "max_len": encoder.embedder.max_len,
        "dim": job.dim or encoder.embedder.dimension,
        "precision": job.precision,
        "backend": job.backend,
        "dtype": job.dtype,
        "shard_rows": job.shard_rows,
    }


def report(job: EncodeJob, result: EncodeResult, *, as_json: bool) -> None:
    """Print what was done: a line or two, and one JSON document if asked for."""
    tally, index = result.tally, result.index
    if tally.empty:
        console.warn(f"{tally.empty:,} of {tally.rows:,} texts are empty; their vectors mean nothing")
    rate = (tally.rows - tally.kept) / max(result.seconds, 1e-9)
    kept = f", {tally.kept:,} of them there already" if tally.kept else ""
    facts = f"{result.dim} dimensions, {job.dtype}, {rate:,.0f} texts/s"
    console.info(f"{tally.rows:,} texts{kept}, {facts} -> {job.output_name}")
    document = {"output": str(job.output), "rows": tally.rows, "dim": result.dim, "dtype": job.dtype}
    if index is not None:
        beside = index_folder_for(job.output)
        found = "" if job.index == "flat" else f", finds {index['recall']:.1%} of the exact 10 nearest"
        hint = f'look: embedctl search --index {job.output} "some text"'
        console.info(f"{job.index} index{found} -> {beside}/; {hint}")
        document |= {"index": str(beside), "recall": index["recall"]}
    if as_json:
        console.result({**document, "seconds": round(result.seconds, 3)})
