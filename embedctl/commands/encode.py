"""`embedctl encode`: encode texts to vectors, in one process or several."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from embedctl import console
from embedctl.commands.default_model import model_or_default
from embedctl.commands.flags import with_options
from embedctl.config import EncodeConfig
from embedctl.errors import ConfigError
from embedctl.outputs import claim
from embedctl.storage.names import index_folder_for

if TYPE_CHECKING:
    from embedctl.encoding.job import EncodeJob

EXAMPLES = r"""
# Encode the shipped example texts with the model that train wrote to ./out.
embedctl encode

# Encode a corpus and write a search index.
embedctl encode --model tuned -i corpus.jsonl -o corpus.npy --index flat

# Encode queries, each with the prompt that the model defines for queries.
embedctl encode --model Qwen/Qwen3-Embedding-0.6B -i queries.txt \
    --prompt-name query
"""


@with_options(EncodeConfig)
def command(config: EncodeConfig) -> None:
    """Compute the embeddings of texts.

    The input is a file of texts. The output is a file or a folder with one embedding per text and, with --index, an
    index for `embedctl search`.
    """
    from embedctl.encoding.job import EncodeJob, launch_workers

    job = EncodeJob.from_config(config)
    print_input_source(config, job)
    check_job(job, config.num_processes)
    model_or_default(config.model.model_name_or_path)  # prints the default, or raises early if there is none
    inputs = {"--input": [] if job.input == "-" else [job.input], "--model": [job.model]}
    with claim(job.outputs, inputs, overwrite=job.overwrite) as lock_files:
        if config.num_processes > 1:
            launch_workers(config, lock_files)
        from embedctl.encoding.run import encode, print_summary

        print_summary(job, encode(job), as_json=config.json_output)


def print_input_source(config: EncodeConfig, job: EncodeJob) -> None:
    """Print where the texts come from if the input is the example file or the terminal."""
    if job.input != config.input:
        console.info(f"{config.input} does not exist in this folder; encoding the example file shipped with embedctl")
    if job.input == "-" and sys.stdin.isatty():
        console.info("reading texts from the terminal, one per line; press Ctrl-D to finish")


def check_job(job: EncodeJob, processes: int) -> None:
    """Check input, output and backend before the model is loaded.

    Raises:
        ConfigError: the output has an unknown format, cannot be shared by several processes or cannot have an index;
            or the packages of the backend are not installed.
        DataError: the input does not exist.
    """
    from embedctl.reading.readers import read_texts
    from embedctl.storage.writers import check_output_format

    read_texts(job.input, job.field)
    if not job.sharded:
        check_output_format(job.output)
    if job.backend != "torch":
        from embedctl.model.onnx import require_backend_packages

        require_backend_packages(job.backend)
    if processes > 1:
        check_parallel(job, processes)
    if job.index is not None:
        check_indexable(job)


def check_parallel(job: EncodeJob, processes: int) -> None:
    """Raise a ConfigError if the output is a single file, or if the input cannot be read more than once."""
    option = f"--num-processes {processes}"
    if not job.sharded:
        message = f"{option} requires an output folder, because every process writes its own files"
        raise ConfigError(message, f"use -o {job.output.with_suffix('')}/")
    if job.input == "-" or not (Path(job.input).is_file() or Path(job.input).is_dir()):
        message = f"{option} requires an input file or folder, because every process reads the whole input"
        raise ConfigError(message, "write the texts to a file and give it with --input")


def check_indexable(job: EncodeJob) -> None:
    """Raise a ConfigError if no index can be built from the output, or if its folder contains other files."""
    from embedctl.search.index_folder import check_replaceable

    if not job.sharded and job.output.suffix != ".npy":
        message = f"--index requires embeddings in .npy files, but --output is {job.output.name}"
        raise ConfigError(message, f"use -o {job.output.with_suffix('.npy')} or -o {job.output.with_suffix('')}/")
    if job.dtype == "binary":
        message = "--index compares embeddings by similarity functions that are not defined for --dtype binary"
        raise ConfigError(message, "use --dtype int8 or --dtype float16")
    check_replaceable(index_folder_for(job.output))
