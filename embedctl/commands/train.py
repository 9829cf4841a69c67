"""`embedctl train`: check the configuration, data and model, write the configuration of the run, start the workers."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from embedctl import console
from embedctl.commands.flags import with_options
from embedctl.commands.train_checks import (
    check_all_rows,
    check_effects,
    check_loaded_model,
    check_main_machine,
    check_resumed_settings,
    note_default_model,
    note_replaced_epochs,
)
from embedctl.config import TINY, TrainConfig, dump
from embedctl.config.trackers import TRACKERS
from embedctl.data.sources import parse_dataset_option
from embedctl.errors import ConfigError, DataError
from embedctl.evaluation.names import check_metric
from embedctl.files import remove_temporary_files, write_atomically
from embedctl.locks import LOCK_FILE
from embedctl.outputs import lock
from embedctl.resources import example_data
from embedctl.run_folder import CONFIG_FILE, RunFolder
from embedctl.shell import embedctl_command

EXAMPLES = r"""
# Train the small built-in model on the shipped example rows (no GPU needed).
embedctl train

# Fine-tune a pretrained model on your rows, and evaluate it after each epoch.
embedctl train --model BAAI/bge-base-zh-v1.5 --dataset train.jsonl \
    --eval-dataset eval.jsonl -o tuned

# Continue that run after an interruption.
embedctl train --resume tuned
"""
EXTRAS = ("peft", "tensorboard", "trackio")  # packages that an extra of embedctl with the same name installs
OTHER_FOLDER = "give another folder with --output-dir"


@with_options(TrainConfig)
def command(config: TrainConfig) -> None:
    """Fine-tune an embedding model on rows of queries and passages.

    The input is a model and files of training rows. The output is a folder with the fine-tuned model, which
    sentence-transformers can load, and with the metrics of the run.
    """
    note_default_model(config)
    note_replaced_epochs(config)
    config = with_default_data(resolve_resume(config).with_model_defaults())
    check_effects(config)
    check_main_machine(config)
    check_metric(config.run.metric, config.loss.mrl_dims)
    check_packages(config)
    check_data(config)
    check_model(config)
    config = with_absolute_paths(config)
    check_resumed_settings(config)
    if config.launch.dry_run:
        check_all_rows(config)
        check_loaded_model(config)
    folder = prepare_output(config)
    write_atomically(folder / CONFIG_FILE, dump(config))
    from embedctl.distributed.launch import command_line, exec_supervisor
    from embedctl.training.job import TrainJob

    launch = TrainJob.from_config(config).launch_job(folder)
    if config.launch.dry_run:
        line = command_line(launch)
        console.result({"command": line}) if config.json_output else console.output(line)
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    exec_supervisor(launch)


def resolve_resume(config: TrainConfig) -> TrainConfig:
    """Return the configuration without --resume if the output folder contains no run yet.

    So a scheduler can always pass --resume.

    Raises:
        ConfigError: --resume names another folder, which contains no checkpoint.
    """
    folder, resume = Path(config.run.output_dir), config.run.resume
    if resume is None:
        return config
    if resume != "latest" and Path(resume).resolve() != folder.resolve():
        _check_checkpoint(resume)
        return config
    if (folder / "config.yaml").exists():
        return config
    console.info(f"--resume: {folder} contains no run yet; starting a new run at step 0")
    return config.with_values(run={"resume": None})


def _check_checkpoint(resume: str) -> None:
    folder = Path(resume)
    hint = "give the output folder of a run or a folder in its states/, or remove --resume to start a new run"
    if not folder.is_dir():
        raise ConfigError(f"--resume {resume}: no such folder", hint)
    if not (folder / "manifest.json").exists() and not RunFolder(folder).checkpoints:
        raise ConfigError(f"--resume {resume}: the folder contains no checkpoint", hint)


def with_default_data(config: TrainConfig) -> TrainConfig:
    """Add the example files if no training files are given."""
    if config.data.dataset:
        return config
    console.info("no --dataset given; training on the example rows shipped with embedctl")
    evaluated = config.data.eval_dataset or (str(example_data("eval.json")),)
    return config.with_values(data={"dataset": (str(example_data("train.json")),), "eval_dataset": evaluated})


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return the configuration with absolute paths, so that the run can be resumed from any working folder."""

    def _absolute(spec: str) -> str:
        path = parse_dataset_option(spec).path
        return str(Path(path).absolute()) + spec.removeprefix(path)

    rows = tuple(map(_absolute, config.data.dataset))
    evaluated = tuple(str(Path(name).absolute()) for name in config.data.eval_dataset)
    name = config.model.model_name_or_path
    if name != TINY and Path(name).is_dir():
        name = str(Path(name).absolute())
    return config.with_values(data={"dataset": rows, "eval_dataset": evaluated}, model={"model_name_or_path": name})


def check_packages(config: TrainConfig) -> None:
    """Raise a ConfigError if an option requires a package that is not installed."""
    tracker = config.run.log_with
    package = TRACKERS[tracker].partition(":")[0]
    required = {f"--log-with {tracker}": package} if package else {}
    if config.tune.lora_rank:
        required["--lora-rank"] = "peft"
    for option, package in required.items():
        if find_spec(package) is None:
            name = f"'embedctl[{package}]'" if package in EXTRAS else package
            raise ConfigError(f"{option} requires the package {package}", f"run `pip install {name}`")


def check_data(config: TrainConfig) -> None:
    """Raise a DataError if a file is missing or one of its first 100 rows has an error."""
    from itertools import islice

    from embedctl.data.rows import read_rows
    from embedctl.data.sources import missing_file_message, parse_dataset_options
    from embedctl.reading.files import check_readable_again

    for name in config.data.eval_dataset:
        check_readable_again(name, "--eval-dataset", "every training process reads the rows")
    evaluated = [name for name in config.data.eval_dataset if not Path(name).is_file()]
    if evaluated:
        raise DataError(missing_file_message(evaluated[0]), "give an existing file with --eval-dataset")
    for name in (*(source.path for source in parse_dataset_options(config.data.dataset)), *config.data.eval_dataset):
        for _row in islice(read_rows(name), 100):
            pass


def check_model(config: TrainConfig) -> None:
    """Raise a ModelError if --model is no saved model, or a ConfigError if it is also the output folder."""
    name = config.model.model_name_or_path
    if name == TINY:
        return
    from embedctl.model.paths import check_model_path

    check_model_path(name)
    folder = Path(name)
    if folder.exists() and folder.resolve() == Path(config.run.output_dir).resolve():
        raise ConfigError(f"--output-dir {name} is the folder of the model to train", OTHER_FOLDER)


def prepare_output(config: TrainConfig) -> Path:
    """Create and lock the output folder, and return the folder for the configuration of the run.

    It is the output folder, or a folder inside it if the run will replace an earlier one. On another machine than the
    first one, and for a dry run whose output folder contains a run, it is a temporary folder.

    Raises:
        ConfigError: the folder is in use, contains files of the user that the run would replace, or an input; or,
            without --overwrite, it contains a run or other files.
    """
    run = RunFolder(Path(config.run.output_dir))
    if config.launch.machine_rank:
        run.path.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="embedctl-train-"))
    if run.path.exists() and not run.path.is_dir():
        raise ConfigError(f"--output-dir {run.path} is a file", OTHER_FOLDER)
    lock_file = None
    if not config.launch.dry_run:
        _, lock_file = lock(run.output)  # held until the supervisor, which inherits it, has ended
    try:
        check_output(config, run)
    except ConfigError:
        if lock_file:
            lock_file.unlink(missing_ok=True)
        raise
    if config.launch.dry_run and run.is_run:
        return Path(tempfile.mkdtemp(prefix="embedctl-train-"))
    run.discard_next()
    remove_temporary_files(run.path / "*")
    replaces = run.is_run and not config.run.resume
    folder = run.next if replaces else run.path
    folder.mkdir(parents=True, exist_ok=True)
    if not replaces:
        run.add([CONFIG_FILE, "accelerate.yaml"])
    return folder


def check_output(config: TrainConfig, run: RunFolder) -> None:
    """Raise a ConfigError if the run may not be written to the folder, or may not replace the run in it."""
    contains = f"--output-dir {run.path} contains"
    if config.run.resume and run.has_model and not run.checkpoints:
        command = embedctl_command("train", "--model", run.path, "--output-dir", "FOLDER")
        hint = f"to train the model further, run `{command}`"
        raise ConfigError(f"--resume: the run in {run.path} is finished", hint)
    if files := run.other_files():
        message = f"{contains} files that no run of embedctl wrote and that this run would replace: {', '.join(files)}"
        raise ConfigError(message, f"{OTHER_FOLDER}, or move these files to another folder")
    if config.run.resume or not run.path.is_dir():
        return
    hint = f"{OTHER_FOLDER}, or use --overwrite to"
    if not config.run.overwrite:
        if run.has_model:
            raise ConfigError(f"{contains} a finished run", f"{hint} replace the run")
        if run.checkpoints:
            hint = (
                f"continue it with `{embedctl_command('train', '--resume', run.path)}`, or replace it with --overwrite"
            )
            raise ConfigError(f"{contains} an unfinished run", hint)
        if not run.is_run and any(path.name != LOCK_FILE for path in run.path.iterdir()):
            raise ConfigError(f"{contains} files but no run", f"{hint} add the run to the folder and keep these files")
    data = config.data
    datasets = [parse_dataset_option(name).path for name in data.dataset]
    model = [config.model.model_name_or_path]
    run.check_inputs({"--dataset": datasets, "--eval-dataset": data.eval_dataset, "--model": model})
