"""Run an encode job: load the model, write the vectors and the index, and print a summary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedctl import console
from embedctl.distributed.ranks import is_main
from embedctl.encoding.encoder import Encoder, TextCounts
from embedctl.encoding.job import EncodeJob
from embedctl.files import atomic_folder
from embedctl.inputs import InputFiles
from embedctl.model.embedder import Embedder
from embedctl.model.onnx import RUNTIMES, use_backend
from embedctl.outputs import recorder, remove_stale
from embedctl.reading.readers import count_texts, read_texts
from embedctl.resources import private_cache
from embedctl.search.faiss_index import check_metric
from embedctl.search.index_folder import write_index
from embedctl.shell import embedctl_command
from embedctl.storage.names import INDEX, index_folder_for
from embedctl.storage.quantization import Quantizer
from embedctl.storage.shards import ShardFolder
from embedctl.storage.textmap import store_texts
from embedctl.tokens.prompts import PROMPT_NAMES, PromptKind
from embedctl.write_errors import writing


@dataclass(frozen=True)
class EncodeResult:
    """Result of an encode job."""

    counts: TextCounts  # texts of all processes
    dim: int  # dimensions per vector
    index: dict[str, Any] | None  # manifest of the index; None without an index and on ranks other than 0
    seconds: float  # duration of encoding and indexing, without loading the model


def encode(job: EncodeJob) -> EncodeResult:
    """Encode the input and write the output. With several processes, each of them calls this function.

    Raises:
        ConfigError: the model has fewer dimensions than requested, or the output folder contains vectors of another
            job.
        DataError: the input contains no text, or a record without text; or it changed while it was read.
        OutputError: the output cannot be written.
        ModelError: the model cannot be loaded, or returns NaN or infinity.
    """
    embedder = Embedder.from_pretrained(
        job.model, device=job.device, dtype=job.precision, trust_remote_code=job.trust_remote_code, max_len=job.max_len
    )
    embedder.check_dim(job.dim)
    if job.index:
        check_metric(embedder.similarity, job.dtype, f"--index {job.index}")
    if job.backend in RUNTIMES:
        use_backend(embedder, job.backend, private_cache("onnx"))
    prompt, quantizer = text_prompt(job, embedder), Quantizer(job.dtype)
    encoder = Encoder(embedder, prompt, job.dim, job.batch_tokens, quantizer, text_kind(job))
    start_time = time.monotonic()
    inputs = InputFiles.of([] if job.input == "-" else [job.input])
    with writing(job.output):
        counts, index = write_output(job, encoder, inputs.watch(read_texts(job.input, job.field)))
    if is_main():
        remove_stale(job.outputs)
    return EncodeResult(counts, embedder.encoded_dimension(job.dim), index, time.monotonic() - start_time)


def text_kind(job: EncodeJob) -> PromptKind | None:
    """Return what the texts are: by the name of the prompt, else passages for an index; None if neither says so."""
    if job.prompt_name is None:
        return "passage" if job.index and job.prompt is None else None
    return next((kind for kind, names in PROMPT_NAMES.items() if job.prompt_name in names), None)


def text_prompt(job: EncodeJob, embedder: Embedder) -> str:
    """Return the prompt of the texts. The texts of an index are passages, so their default is the passage prompt."""
    if job.prompt_name is None and (kind := text_kind(job)):
        return embedder.prompt_for(kind)
    return embedder.resolve_prompt(job.prompt_name, job.prompt)


def write_output(job: EncodeJob, encoder: Encoder, texts: Iterator[str]) -> tuple[TextCounts, dict[str, Any] | None]:
    """Write the vectors and, on rank 0, the index if the job has one. Return the counts and the index manifest."""
    settings = vector_settings(job, encoder) if job.sharded or job.index else {}
    if job.index is None or not is_main():
        return write_vectors(job, encoder, settings, texts), None
    index_folder = index_folder_for(job.output)
    with atomic_folder(index_folder, sync=True, complete=recorder(index_folder, INDEX)) as folder:
        counts = write_vectors(job, encoder, settings, store_texts(texts, folder))
        model = str(Path(job.model).resolve()) if Path(job.model).is_dir() else job.model
        similarity = encoder.embedder.similarity
        return counts, write_index(folder, job.output, job.index, similarity, {**settings, "name": model})


def write_vectors(job: EncodeJob, encoder: Encoder, settings: dict[str, Any], texts: Iterator[str]) -> TextCounts:
    """Write the vectors to the output; with several processes, only the shards that are assigned to this process."""
    total = count_texts(job.input, job.field)
    if not job.sharded:
        return encoder.to_file(texts, job.output, total)
    return encoder.to_shards(texts, ShardFolder(job.output, settings, overwrite=job.overwrite), job.shard_rows, total)


def vector_settings(job: EncodeJob, encoder: Encoder) -> dict[str, Any]:
    """Return the settings that must be equal for vectors to be reused; `model` is the digest of the weights."""
    return {
        "model": encoder.embedder.weights_hash(),
        "prompt": encoder.embedder.prefix(encoder.kind, encoder.prompt),  # with the route of a Router
        "max_len": encoder.embedder.truncation_length,
        "dim": encoder.embedder.encoded_dimension(job.dim),
        "precision": job.precision,
        "backend": job.backend,
        "dtype": job.dtype,
        "shard_rows": job.shard_rows,
    }


def print_summary(job: EncodeJob, result: EncodeResult, *, as_json: bool) -> None:
    """Print what was written and how to search it; with `as_json`, also print the result as JSON."""
    counts, index = result.counts, result.index
    if counts.empty:
        if counts.empty == 1:
            advice = "Its embedding is not useful. Remove the text if you do not need its embedding."
        else:
            advice = "Their embeddings are not useful. Remove the texts if you do not need their embeddings."
        console.warn(f"the input contains {console.plural(counts.empty, 'empty text')}. {advice}")
    encoded = counts.rows - counts.reused
    rate = encoded / max(result.seconds, 1e-9)
    facts = f"{console.plural(result.dim, 'dimension')}, {job.dtype}, {rate:,.0f} texts/s"
    reused = f"; reused the embeddings of {console.plural(counts.reused, 'text')}" if counts.reused else ""
    console.info(f"encoded {console.plural(encoded, 'text')} to {job.output_name} ({facts}){reused}")
    values = {"output": str(job.output), "rows": counts.rows, "dim": result.dim, "dtype": job.dtype}
    if index is not None:
        folder = index_folder_for(job.output)
        recall = "exact" if job.index == "flat" else f"recall@10 {index['recall']:.1%} compared with exact search"
        console.info(f"wrote the {job.index} index to {folder}/ ({recall})")
        words = ("search", "--index", job.output, "some text")
        console.info(f"search it with `{embedctl_command(*words, trust_remote_code=job.trust_remote_code)}`")
        values |= {"index": str(folder), "recall": index["recall"]}
    if as_json:
        console.result({**values, "seconds": round(result.seconds, 3)})
