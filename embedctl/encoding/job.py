"""Settings of one encode job, resolved from its configuration, and the launch of its processes.

This module does not import torch, so that wrong options are reported without the delay of that import.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from embedctl.config import EncodeConfig, RunSection, dump
from embedctl.distributed.launch import LaunchJob, exec_supervisor
from embedctl.errors import ConfigError
from embedctl.files import write_atomically
from embedctl.outputs import Output
from embedctl.reading.files import without_compression_suffix
from embedctl.resources import input_or_example
from embedctl.storage.names import EMBEDDINGS, INDEX, index_folder_for, ranges_of, ranges_path


@dataclass(frozen=True)
class EncodeJob:
    """Settings of one encode job."""

    model: str  # a folder or a Hugging Face Hub name
    trust_remote_code: bool  # whether to run code that comes with the model
    device: str | None  # torch device; None selects a GPU if available, otherwise the CPU
    backend: str  # torch, onnx or openvino
    precision: str  # type in which the model computes
    batch_tokens: int | None  # maximum tokens per forward pass; None selects the default of the device
    input: str  # a file or folder of texts, or - for stdin
    field: str  # key or column that contains the text
    prompt_name: str | None  # name of one of the model's prompts; None selects the model's default prompt
    prompt: str | None  # prompt that replaces the model's prompt; None keeps it
    max_len: int | None  # maximum tokens per text; None selects the model's own limit
    dim: int | None  # number of leading dimensions to keep; None keeps all
    dtype: str  # type of the stored vectors
    output: Path  # a file or the folder of shards
    sharded: bool  # whether the output is a folder of shards
    shard_rows: int  # rows per shard
    overwrite: bool  # whether to replace existing shards in the folder
    index: str | None  # flat, hnsw or ivf; None writes no index

    @classmethod
    def from_config(cls, config: EncodeConfig, device: str | None = None) -> EncodeJob:
        """Return the job of a configuration, with all defaults resolved for the current working folder.

        Without a model, the job uses the output folder of the last training run. Without an output, it writes a .npy
        file with the stem of the input. `device` is the device of this process if several processes share the job.

        Raises:
            ConfigError: two options contradict each other.
        """
        _check_options(config)
        source = input_or_example(config.input)[0]
        return cls(
            model=config.model.model_name_or_path or RunSection().output_dir,
            trust_remote_code=config.model.trust_remote_code,
            device=(device or config.device) if config.backend == "torch" else "cpu",
            backend=config.backend,
            precision="float32" if config.precision == "auto" else config.precision,
            batch_tokens=config.batch_tokens,
            input=source,
            field=config.field,
            prompt_name=config.prompt_name,
            prompt=config.prompt,
            max_len=config.max_len,
            dim=config.dim,
            dtype=config.dtype,
            output=Path(_default_output(source) if config.output is None else config.output),
            sharded=config.writes_folder,
            shard_rows=config.shard_rows,
            overwrite=config.overwrite,
            index=config.index,
        )

    @property
    def outputs(self) -> list[Output]:
        """What the job writes, and what an earlier job wrote beside the same output."""
        vectors = Output("--output", self.output, EMBEDDINGS, "managed" if self.sharded else "file")
        has_ranges = self.dtype == "int8" and not self.sharded
        ranges = Output("--output", ranges_path(self.output), ranges_of(self.output), written=has_ranges)
        index = Output("--output", index_folder_for(self.output), INDEX, "folder", written=self.index is not None)
        return [vectors, ranges, index]

    @property
    def output_name(self) -> str:
        """The output path for messages; a folder ends with a slash."""
        return f"{self.output}/" if self.sharded else str(self.output)


def _default_output(source: str) -> str:
    """Return the name of a .npy file in the working folder with the stem of the input."""
    if source == "-":
        return "embeddings.npy"
    path = without_compression_suffix(Path(source).resolve().name)
    return f"{path.name if Path(source).is_dir() else path.stem}.npy"


def _check_options(config: EncodeConfig) -> None:
    if config.prompt is not None and config.prompt_name is not None:
        raise ConfigError("--prompt and --prompt-name cannot be combined", "remove one of them")
    if config.backend == "torch":
        return
    if config.device not in (None, "cpu"):
        message = f"--backend {config.backend} supports only the CPU, not --device {config.device}"
        raise ConfigError(message, "use --device cpu")
    if config.precision not in ("auto", "float32"):
        message = f"--backend {config.backend} supports only float32, not --precision {config.precision}"
        raise ConfigError(message, "remove --precision")


def launch_job(config: EncodeConfig, folder: Path, lock_files: Sequence[Path] = ()) -> LaunchJob:
    """Return the launch settings of the worker processes; they read config.yaml from `folder`."""
    return LaunchJob(
        worker="embedctl.encoding.worker",
        folder=str(folder),
        processes=config.num_processes,
        device=config.device,
        cpu_option="--device cpu",
        memory_option="--batch-tokens",
        strategy="ddp",
        quiet=config.quiet,
        stop_hint=config.interrupt_hint,
        remove_folder=True,
        lock_files=[str(path.absolute()) for path in lock_files],
    )


def launch_workers(config: EncodeConfig, lock_files: Sequence[Path] = ()) -> NoReturn:
    """Replace this process by the supervisor process, which starts the workers and waits for them.

    Args:
        config: the configuration of the workers.
        lock_files: of the outputs; the supervisor inherits the locks and releases them.
    """
    folder = Path(tempfile.mkdtemp(prefix="embedctl-encode-"))
    write_atomically(folder / "config.yaml", dump(config))
    exec_supervisor(launch_job(config, folder, lock_files))
