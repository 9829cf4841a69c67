"""Checks of `embedctl train` for options that could have no effect, for a resumed run and for `--dry-run`."""

from __future__ import annotations

import socket
from pathlib import Path

from embedctl import console
from embedctl.config import OptimSection, RunSection, TrainConfig, flag_of
from embedctl.errors import ConfigError


def check_effects(config: TrainConfig) -> None:
    """Raise a ConfigError if an option is given that requires evaluation rows, and there are none."""
    options = ("early_stopping_patience", "eval_steps", "metric")
    given = [flag_of(name) for name in options if getattr(config.run, name) != getattr(RunSection(), name)]
    if given and not config.data.eval_dataset:
        message = f"{' and '.join(given)}: no rows are given to evaluate on during training"
        raise ConfigError(message, f"give the rows with --eval-dataset, or remove {' and '.join(given)}")


def check_main_machine(config: TrainConfig) -> None:
    """Raise a ConfigError if this machine cannot resolve the name of the main machine, for which it would wait."""
    name = config.launch.main_process_ip
    if name is None:
        return
    try:
        socket.getaddrinfo(name, config.launch.main_process_port)
    except (OSError, UnicodeError) as cause:  # a label of a name is empty or too long
        reason = cause.strerror if isinstance(cause, OSError) else "not a name of a machine"
        message = f"--main-process-ip {name}: this machine cannot resolve the name: {reason}"
        raise ConfigError(message, "give the IP address of the main machine; `hostname -I` prints it there") from None


def note_default_model(config: TrainConfig) -> None:
    """Print that the built-in model is trained, if training rows are given and the model is not."""
    if config.data.dataset and "model_name_or_path" not in config.model.model_fields_set:
        note = "the built-in model tiny is trained, which has random weights; use --model to fine-tune another model"
        console.info(f"no --model given; {note}")


def note_replaced_epochs(config: TrainConfig) -> None:
    """Print that --max-steps sets the number of steps, if --epochs is given too."""
    if config.optim.max_steps is not None and config.optim.epochs != OptimSection().epochs:
        console.info("--max-steps sets the number of steps, so --epochs has no effect")


def check_resumed_settings(config: TrainConfig) -> None:
    """Raise a ConfigError if --resume continues a run with other values of settings that must not change."""
    from embedctl.training.resuming import check_unchanged, fixed_settings, stored_settings

    stored = stored_settings(config.run.resume, Path(config.run.output_dir)) if config.run.resume else {}
    if stored:
        check_unchanged(stored, fixed_settings(config.model_dump(mode="json")))


def check_all_rows(config: TrainConfig) -> None:
    """Read all training rows, and check the options of the losses for their kinds, for --dry-run.

    Raises:
        DataError: a row has an error.
        ConfigError: an option of the losses has no effect on these rows.
    """
    from embedctl.data.rows import read_rows
    from embedctl.data.sources import parse_dataset_options
    from embedctl.losses.select import check_options

    kinds = {row.kind for source in parse_dataset_options(config.data.dataset) for row in read_rows(source.path)}
    check_options(config.loss, kinds)


def check_loaded_model(config: TrainConfig) -> None:
    """Load the model and check it as the workers do before the first step, for --dry-run.

    Raises:
        ModelError: it cannot be loaded.
        ConfigError: --mrl-dims, --pooling, a maximum length, LoRA or another option does not fit to the model.
    """
    from embedctl.model import tuning
    from embedctl.model.device import select_device
    from embedctl.training.job import TrainJob
    from embedctl.training.worker import load_model

    _, embedder = load_model(TrainJob.from_config(config))
    tuning.check_tuning(embedder, config.tune, select_device("cpu" if config.launch.cpu else None))
    if config.tune.lora_rank:
        tuning.add_adapters(embedder, config.tune)
