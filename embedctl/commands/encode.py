"""`embedctl encode`: texts to vectors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from embedctl import console
from embedctl.commands.checkpoints import checkpoint_of
from embedctl.commands.flags import with_options
from embedctl.config import EncodeConfig
from embedctl.errors import ConfigError

if TYPE_CHECKING:
    from embedctl.encoding.job import EncodeJob

EXAMPLE = "Example: embedctl encode --ckpt out -i texts.txt -o vectors.npy"


@with_options(EncodeConfig)
def command(config: EncodeConfig) -> None:
    """Turn texts into vectors."""
    from embedctl.encoding.job import EncodeJob, become_launcher

    job = EncodeJob.of(config)
    say_input(config, job)
    expect_usable(job, config.num_processes)
    checkpoint_of(config.model.model_name_or_path)  # said before a model is loaded
    if config.num_processes > 1:
        become_launcher(config)
    from embedctl.encoding.run import encode, report

    report(job, encode(job), as_json=config.json_output)


def say_input(config: EncodeConfig, job: EncodeJob) -> None:
    """Print where the texts come from, where that is the example file or the terminal."""
    if job.input != config.input:
        console.info(f"{config.input} is not in this folder: encoding the example file shipped with embedctl")
    if job.input == "-" and sys.stdin.isatty():
        console.info("reading texts from the terminal, one a line, until Ctrl-D")


def expect_usable(job: EncodeJob, processes: int) -> None:
    """Find what is wrong before a model is loaded.

    Raises:
        ConfigError: an unknown format of the output, an output that is the input, that several processes can't share
            or that can't have an index, or a backend that is not installed.
        DataError: there is no such input.
    """
    from embedctl.reading.readers import read_texts
    from embedctl.storage.writers import check_output_format

    read_texts(job.input, job.field)
    if job.output.exists() and job.input != "-" and job.output.samefile(job.input):
        raise ConfigError(f"--output {job.output}: is the input", "choose another --output")
    if not job.sharded:
        check_output_format(job.output)
    elif job.output.is_file():
        raise ConfigError(f"--output {job.output_name}: is a file", "choose another --output")
    if job.backend != "torch":
        from embedctl.model.onnx import require_backend_packages

        require_backend_packages(job.backend)
    if processes > 1:
        expect_shareable(job, processes)
    if job.index is not None:
        expect_indexable(job)


def expect_shareable(job: EncodeJob, processes: int) -> None:
    """Check that several processes can share the work.

    Raises:
        ConfigError: the output is one file, or the input can be read once only.
    """
    many = f"--num-processes {processes}"
    if not job.sharded:
        folder = job.output.with_suffix("")
        raise ConfigError(f"{many}: each writes shards of its own, and {job.output} is one file", f"-o {folder}/")
    if job.input == "-" or not (Path(job.input).is_file() or Path(job.input).is_dir()):
        raise ConfigError(f"{many}: each reads the input, and a pipe can be read once", "write the texts to a file")


def expect_indexable(job: EncodeJob) -> None:
    """Check that vectors of this output and type can have an index.

    Raises:
        ConfigError: they can't.
    """
    from embedctl.search.index_folder import check_replaceable, index_folder_for

    if not job.sharded and job.output.suffix != ".npy":
        problem = f"--index: needs numbers in .npy files, not {job.output.name}"
        raise ConfigError(problem, "use -o NAME.npy or a folder/")
    if job.dtype == "binary":
        raise ConfigError("--index: compares by cosine, which bits do not give", "use --dtype int8 or float16")
    check_replaceable(index_folder_for(job.output))
