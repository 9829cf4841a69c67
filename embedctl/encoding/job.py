"""What one run of encode does, and with which processes: the configuration, resolved once. No torch here."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from embedctl.config import EncodeConfig, RunSection, dump
from embedctl.distributed.launch import LaunchJob, exec_supervisor
from embedctl.errors import ConfigError
from embedctl.files import write_atomically
from embedctl.reading.files import without_compression
from embedctl.resources import input_or_example


@dataclass(frozen=True)
class EncodeJob:
    """Texts to encode, by which model, and what is written."""

    model: str  # a folder or a hub name
    trust_remote_code: bool  # whether code that comes with the model may run
    device: str | None  # as torch names it; the GPU where there is one if None
    backend: str  # torch, onnx or openvino
    precision: str  # type in which the model computes
    batch_tokens: int | None  # tokens in one pass; the device's default if None
    input: str  # a file or folder of texts, or - for stdin
    field: str  # key or column that holds the text
    prompt_name: str | None  # one of the model's prompts; its default one if None
    prompt: str | None  # prepended to each text instead, if not None
    max_len: int | None  # tokens of a text; the model's own if None
    dim: int | None  # leading dimensions kept; all if None
    dtype: str  # type of the stored numbers
    output: Path  # a file, or the folder of shards
    sharded: bool  # whether the output is a folder of shards
    shard_rows: int  # rows per shard
    overwrite: bool  # whether shards in the folder are replaced
    index: str | None  # flat, hnsw or ivf; None for no index

    @classmethod
    def of(cls, config: EncodeConfig, device: str | None = None) -> EncodeJob:
        """The job that a configuration describes in this working folder.

        Args:
            config: where no model is named, it is the output of the last run; where no output is named, a .npy file
                with the input's stem.
            device: of this process, where several share the job.

        Raises:
            ConfigError: two options contradict each other.
        """
        expect_consistent(config)
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
            output=Path(default_output(source) if config.output is None else config.output),
            sharded=config.writes_folder,
            shard_rows=config.shard_rows,
            overwrite=config.overwrite,
            index=config.index,
        )

    @property
    def output_name(self) -> str:
        """The output in messages: a folder ends in a slash."""
        return f"{self.output}/" if self.sharded else str(self.output)


def default_output(source: str) -> str:
    """A .npy file in the working folder with the stem of the input."""
    if source == "-":
        return "embeddings.npy"
    name = without_compression(Path(source).resolve().name)
    return f"{name.name if Path(source).is_dir() else name.stem}.npy"


def expect_consistent(config: EncodeConfig) -> None:
    """Check the options that exclude each other.

    Raises:
        ConfigError: there are two prompts, or the backend is to compute on another device or in another type than it
            can.
    """
    if config.prompt is not None and config.prompt_name is not None:
        raise ConfigError("--prompt and --prompt-name exclude each other", "give one of them")
    if config.backend == "torch":
        return
    if config.device not in (None, "cpu"):
        raise ConfigError(f"--backend {config.backend}: computes on the CPU, not on {config.device}", "--device cpu")
    if config.precision not in ("auto", "float32"):
        raise ConfigError(f"--backend {config.backend}: computes in float32", "leave --precision out")


def launch_job(config: EncodeConfig, folder: Path) -> LaunchJob:
    """The processes that share the work; `folder` holds the configuration while they run."""
    return LaunchJob(
        worker="embedctl.encoding.worker",
        folder=str(folder),
        processes=config.num_processes,
        device=config.device,
        cpu_flag="--device cpu",
        strategy="ddp",
        quiet=config.quiet,
        after_stop=config.after_interrupt,
        temporary=True,
    )


def become_launcher(config: EncodeConfig) -> NoReturn:
    """Replace this process by the one that starts and supervises the workers."""
    folder = Path(tempfile.mkdtemp(prefix="embedctl-encode-"))
    write_atomically(folder / "config.yaml", dump(config))
    exec_supervisor(launch_job(config, folder))
