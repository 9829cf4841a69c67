"""`embedctl train`: check what can be checked, write the run's configuration, become the launcher."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from embedctl import console
from embedctl.commands.flags import with_options
from embedctl.config import TINY, TrainConfig, dump, with_model_defaults
from embedctl.config.trackers import TRACKERS
from embedctl.data.sources import parse
from embedctl.errors import ConfigError, DataError, ModelError
from embedctl.evaluation.names import expect_metric
from embedctl.files import expect_writable, write_atomically
from embedctl.resources import example_data

EXAMPLE = "Example: embedctl train --model BAAI/bge-base-zh-v1.5 --dataset train.jsonl --eval-dataset eval.jsonl -o out"
OURS = ("config.yaml", "embedctl.json", "states", "checkpoints", "metrics.jsonl", "modules.json")


@with_options(TrainConfig)
def command(config: TrainConfig) -> None:
    """Fine-tune a text-embedding model on query/passage rows."""
    config = with_examples(with_model_defaults(settle_resume(config)))
    expect_metric(config.run.metric, config.loss.mrl_dims)
    expect_packages(config)
    expect_data(config)
    expect_model(config)
    folder = prepare_output(config)
    config = with_absolute_paths(config)
    write_atomically(folder / "config.yaml", dump(config))
    from embedctl.distributed.launch import command_line, exec_supervisor
    from embedctl.training.job import TrainJob

    launch = TrainJob.of(config).launch_job
    if config.launch.dry_run:
        line = command_line(launch)
        console.result({"command": line}) if config.json_output else print(line)
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    exec_supervisor(launch)


def settle_resume(config: TrainConfig) -> TrainConfig:
    """The configuration without --resume where there is no run yet, so that a scheduler may always pass it.

    Raises:
        ConfigError: another folder was named, which holds no state.
    """
    folder, wanted = Path(config.run.output_dir), config.run.resume
    if wanted is None:
        return config
    if wanted != "latest" and Path(wanted).resolve() != folder.resolve():
        _expect_state(wanted)
        return config
    if (folder / "config.yaml").exists():
        return config
    console.info(f"--resume: {folder} holds no run yet; it begins at step 0")
    return config.changed(run={"resume": None})


def _expect_state(wanted: str) -> None:
    folder, hint = Path(wanted), "give the folder of a run, or one of its states; leave --resume out to begin anew"
    if not folder.is_dir():
        raise ConfigError(f"--resume {wanted}: no such folder", hint)
    if not any((*folder.glob("manifest.json"), *folder.glob("states/step-*"))):
        raise ConfigError(f"--resume {wanted}: holds no state", hint)


def with_examples(config: TrainConfig) -> TrainConfig:
    """The configuration with the shipped rows where no data were given."""
    if config.data.dataset:
        return config
    console.info("no --dataset: training on the example rows shipped with embedctl")
    evaluated = config.data.eval_dataset or (str(example_data("eval.json")),)
    return config.changed(data={"dataset": (str(example_data("train.json")),), "eval_dataset": evaluated})


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """The configuration as it is kept with the run, so that it can be resumed from any folder."""

    def _absolute(spec: str) -> str:
        path = parse(spec).path
        return str(Path(path).absolute()) + spec.removeprefix(path)

    rows = tuple(map(_absolute, config.data.dataset))
    evaluated = tuple(str(Path(name).absolute()) for name in config.data.eval_dataset)
    name = config.model.model_name_or_path
    if name != TINY and Path(name).is_dir():
        name = str(Path(name).absolute())
    return config.changed(data={"dataset": rows, "eval_dataset": evaluated}, model={"model_name_or_path": name})


def expect_packages(config: TrainConfig) -> None:
    """Raise a ConfigError if an option needs a package that is not installed."""
    tracker = config.run.log_with
    package = TRACKERS[tracker].partition(":")[0]
    needed = {f"--log-with {tracker}": package} if package else {}
    if config.tune.lora_rank:
        needed["--lora-rank"] = "peft"
    for flag, package in needed.items():
        if find_spec(package) is None:
            raise ConfigError(f"{flag}: needs the package {package}", f'pip install "embedctl[{package}]"')


def expect_data(config: TrainConfig) -> None:
    """Raise a DataError if a file is missing or its first rows are wrong."""
    from itertools import islice

    from embedctl.data.rows import read_rows
    from embedctl.data.sources import missing, parse_all

    evaluated = [name for name in config.data.eval_dataset if not Path(name).is_file()]
    if evaluated:
        raise DataError(missing(evaluated[0]), "check --eval-dataset")
    for name in (*(source.path for source in parse_all(config.data.dataset)), *config.data.eval_dataset):
        for _row in islice(read_rows(name), 100):
            pass


def expect_model(config: TrainConfig) -> None:
    """Raise a ModelError if a local model folder is none, or is where the output goes."""
    name = config.model.model_name_or_path
    if name == TINY:
        return
    folder = Path(name)
    if folder.is_dir() and not any((folder / file).exists() for file in ("modules.json", "config.json")):
        raise ModelError(
            f"{name}: holds no model (no modules.json, no config.json)", "name the folder of a saved model"
        )
    if folder.exists() and folder.resolve() == Path(config.run.output_dir).resolve():
        raise ConfigError("--output-dir is the folder of the model that is trained", "choose another --output-dir")


def prepare_output(config: TrainConfig) -> Path:
    """The output folder, emptied of an earlier run if that may be.

    Raises:
        ConfigError: it holds a finished run, an unfinished one that can be resumed, or somebody's files.
    """
    folder = Path(config.run.output_dir)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output-dir {folder}: is a file", "choose another --output-dir")
    present = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if config.run.resume and "modules.json" in present and not any((folder / "states").glob("step-*")):
        raise ConfigError(
            f"--resume: the run in {folder} is finished", "train it further with --model and another --output-dir"
        )
    if present and not config.run.resume and not config.launch.dry_run:
        if not config.run.overwrite:
            _expect_free(folder, present)
        for path in (folder / name for name in OURS):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    expect_writable(folder, f"--output-dir {folder}", "choose another --output-dir")
    return folder


def _expect_free(folder: Path, present: set[str]) -> None:
    held, other = f"--output-dir {folder}: holds", "choose another --output-dir, or"
    if "modules.json" in present:
        raise ConfigError(f"{held} a finished run", f"{other} replace it with --overwrite")
    if "config.yaml" not in present:
        raise ConfigError(f"{held} files that are no run's", f"{other} give --overwrite to write among them")
    if any((folder / "states").glob("step-*")):
        raise ConfigError(f"{held} an unfinished run", "go on with --resume, or begin anew with --overwrite")
