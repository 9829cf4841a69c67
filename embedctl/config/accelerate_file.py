"""Options of train from a configuration file of accelerate, as `accelerate config` writes it (`--accelerate-config`).

Each key is applied, has a value without effect here, or is refused. Settings of FSDP1 become those of FSDP2, as in
`accelerate to-fsdp2`; those that FSDP2 does not have change no result. NO_SHARD, which copies the weights to each
process, becomes `--strategy ddp`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from embedctl.config.base import HARDWARE, SettingsFile
from embedctl.config.loading import flag_of, read_yaml
from embedctl.errors import ConfigError

NAME = "--accelerate-config"
Options = dict[str, Any]  # options of train by field; empty if a value has no effect
Read = Callable[[Any], Options | None]  # from the value of a key to options; None if it cannot be applied
# Strategies of FSDP1 in the order of torch's numbers, which start at 1.
SHARDING = ("FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2")
RESHARD = {"FULL_SHARD": True, "TRUE": True, "SHARD_GRAD_OP": False, "FALSE": False}


def _one_of(**values: Options) -> Read:
    """Return a reader of the names of `values`, in any case; YAML's true and false are TRUE and FALSE."""
    return lambda value: values.get(str(value).upper())


def _integer(name: str, least: int) -> Read:
    return lambda value: {name: value} if type(value) is int and value >= least else None


def _off(value: Any) -> Options | None:
    return {} if not value or str(value).upper() in ("NO", "FALSE", "NONE") else None


def _unknown(_value: Any) -> Options | None:
    return None


def _any(_value: Any) -> Options | None:
    return {}


def _address(value: Any) -> Options | None:
    return {"main_process_ip": value} if isinstance(value, str) and value else None


def _sharding(value: Any) -> Options | None:
    name = str(value).upper()
    if name.isdecimal() and 0 < int(name) <= len(SHARDING):
        name = SHARDING[int(name) - 1]
    if name == "NO_SHARD":
        return {"strategy": "ddp"}
    return {"fsdp_reshard": RESHARD[name]} if name in RESHARD else None


def _layers(value: Any) -> Options | None:
    names = value.split(",") if isinstance(value, str) else value
    valid = isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names)
    return {"fsdp_layers": [name.strip() for name in names]} if valid else None


PREFETCH = _one_of(NO_PREFETCH={}, BACKWARD_PRE={}, BACKWARD_POST={})
NO_TPU = (_off, "remove it; TPUs are not supported")
OTHER_TRAINER = (_off, "remove it; use distributed_type FSDP or MULTI_GPU")
# For each key: its reader, and what to do if the value cannot be applied.
KEYS: dict[str, tuple[Read, str]] = {
    "compute_environment": (_one_of(LOCAL_MACHINE={}), "use LOCAL_MACHINE"),
    "distributed_type": (
        _one_of(
            FSDP={"strategy": "fsdp"},
            MULTI_GPU={"strategy": "ddp"},
            MULTI_CPU={"strategy": "ddp", "cpu": True},
            NO={"num_processes": 1},
            FALSE={"num_processes": 1},  # an unquoted `no`
        ),
        "use FSDP, MULTI_GPU, MULTI_CPU or 'NO'",
    ),
    "num_processes": (_integer("num_processes", 1), "use a number of at least 1"),
    "num_machines": (_integer("num_machines", 1), "use a number of at least 1"),
    "machine_rank": (_integer("machine_rank", 0), "use the number of the machine, from 0"),
    "main_process_ip": (_address, "use the address of the main machine"),
    "main_process_port": (_integer("main_process_port", 0), "use the number of a port"),
    "mixed_precision": (
        _one_of(
            NO={"mixed_precision": "no"},
            FALSE={"mixed_precision": "no"},
            BF16={"mixed_precision": "bf16"},
            FP16={"mixed_precision": "fp16"},
        ),
        "use 'no', bf16 or fp16",
    ),
    "use_cpu": (_one_of(TRUE={"cpu": True}, FALSE={}), "use true or false"),
    "rdzv_backend": (_one_of(STATIC={}), "use static"),
    "same_network": (_one_of(TRUE={}), "use true"),
    "main_training_function": (_one_of(MAIN={}), "remove it"),
    "gpu_ids": (_one_of(ALL={}), "remove it, and select GPUs with the variable CUDA_VISIBLE_DEVICES"),
    "debug": (_off, "remove it, and set the variable ACCELERATE_DEBUG_MODE=1"),
    "enable_cpu_affinity": (_off, "remove it, and set the variable ACCELERATE_CPU_AFFINITY=1"),
    "dynamo_config": (_off, "remove it, and use --compile"),
    "dynamo_backend": (_off, "remove it, and use --compile"),
    "downcast_bf16": NO_TPU,
    **dict.fromkeys(("tpu_name", "tpu_zone", "tpu_use_cluster", "tpu_use_sudo", "tpu_vm", "tpu_env"), NO_TPU),
    **dict.fromkeys(("command_file", "commands"), NO_TPU),
    **dict.fromkeys(("deepspeed_config", "megatron_lm_config", "mpirun_config"), OTHER_TRAINER),
    **dict.fromkeys(("fp8_config", "parallelism_config"), OTHER_TRAINER),
}
FSDP_KEYS: dict[str, tuple[Read, str]] = {
    "fsdp_version": (_one_of(**{"1": {}, "2": {}}), "use 2"),
    "fsdp_sharding_strategy": (_sharding, "use FULL_SHARD, SHARD_GRAD_OP or NO_SHARD"),
    "fsdp_reshard_after_forward": (_sharding, "use true or false"),
    "fsdp_auto_wrap_policy": (_one_of(TRANSFORMER_BASED_WRAP={}), "use TRANSFORMER_BASED_WRAP"),
    "fsdp_transformer_layer_cls_to_wrap": (_layers, "use names of layer classes, separated by commas"),
    "fsdp_state_dict_type": (
        # exported models are whole and checkpoints are sharded, whatever this key states
        _one_of(SHARDED_STATE_DICT={}, FULL_STATE_DICT={}),
        "use SHARDED_STATE_DICT",
    ),
    "fsdp_activation_checkpointing": (_one_of(TRUE={"gradient_checkpointing": True}, FALSE={}), "use true or false"),
    "fsdp_activation_checkpointing_offload": (_off, "use false"),
    "fsdp_offload_params": (_off, "use false; a smaller --tokens-per-forward and --gradient-checkpointing save memory"),
    "fsdp_forward_prefetch": (_off, "use false; FSDP2 does not have it"),
    "fsdp_ignored_modules": (_off, "remove it"),
    "fsdp_min_num_params": (_any, ""),  # only for SIZE_BASED_WRAP
    # FSDP2 does not have these, or they only decide which process reads the weights from the disk.
    "fsdp_backward_prefetch": (PREFETCH, "remove it"),
    "fsdp_backward_prefetch_policy": (PREFETCH, "remove it"),
    "fsdp_sync_module_states": (_any, ""),
    "fsdp_use_orig_params": (_any, ""),
    "fsdp_cpu_ram_efficient_loading": (_any, ""),
}

FSDP_SECTION = "fsdp_config"


class Entry(NamedTuple):
    """One key of a file."""

    place: str  # FILE:LINE: key
    value: Any
    options: Options  # that it sets


def _entries(file: str) -> Iterator[Entry]:
    """Yield the keys of a file; raise a ConfigError if a key cannot be applied."""
    content, lines = read_yaml(file, NAME, "run `accelerate config` to write such a file")
    if not isinstance(content, dict) or "distributed_type" not in content:
        hint = "give a file that `accelerate config` wrote; options of embedctl belong to the file of --config"
        raise ConfigError(f"{NAME}: {file}: no configuration of accelerate: it has no distributed_type", hint)
    fsdp = content.pop(FSDP_SECTION, None)
    yield from _section_entries(file, lines, content)
    distributed_type, place = content["distributed_type"], f"{file}:{lines.get((FSDP_SECTION,))}: {FSDP_SECTION}"
    if fsdp is not None and not isinstance(fsdp, dict):
        raise ConfigError(f"{place}: {fsdp} is not a section of keys", "remove it")
    if fsdp and str(distributed_type).upper() != "FSDP":
        message = f"{place}: the section has no effect with distributed_type {distributed_type}"
        raise ConfigError(message, "remove it, or use distributed_type FSDP")
    yield from _section_entries(file, lines, fsdp or {}, FSDP_SECTION)


def _section_entries(
    file: str, lines: Mapping[tuple[Any, ...], int], section: Mapping[str, Any], *path: str
) -> Iterator[Entry]:
    """Yield the keys of one section; those without a value (null) are not given, except for distributed_type."""
    keys = FSDP_KEYS if path else KEYS
    for key, value in section.items():
        read, hint = keys.get(key, (_unknown, "remove it; this is not a key of accelerate that embedctl knows"))
        options, place = read(value), f"{file}:{lines[*path, key]}: {key}"
        if value is None and key in keys and key != "distributed_type":
            options = {}
        if options is None:
            raise ConfigError(f"{place}: {value} cannot be applied", hint)
        yield Entry(place, value, options)


def read_options(file: str, flags: Mapping[str, Any]) -> Options:
    """Return the options of train that a configuration file of accelerate sets.

    Args:
        file: the path of the file.
        flags: the options on the command line, by field.

    Raises:
        ConfigError: the file cannot be read, a key cannot be applied, or it differs from another key or an option.
    """
    options: Options = {}
    sources: dict[str, Entry] = {}  # of each option
    for entry in _entries(file):
        for name, option in entry.options.items():
            if name != "strategy" and options.get(name, option) != option:
                message = f"{entry.place}: {entry.value} contradicts another key of the file"
                raise ConfigError(message, "change one of them")
            options[name], sources[name] = option, entry  # NO_SHARD replaces the strategy of FSDP
    if options.get("strategy") == "ddp":
        options = {name: option for name, option in options.items() if not name.startswith("fsdp_")}
    for name, option in options.items():
        if name in flags and _text(flags[name]) != _text(option):
            flag = flag_of(name) if flags[name] is not False else flag_of(f"no_{name}")
            given = flag if isinstance(flags[name], bool) else f"{flag} {_text(flags[name])}"
            message = f"{given} contradicts {sources[name].place}: {sources[name].value}"
            raise ConfigError(message, f"omit {flag}, or change the file")
    return options


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value).lower()


ACCELERATE_FILE = SettingsFile(
    names=(NAME, "--config-file"),
    panel=HARDWARE,
    read=read_options,
    help="configuration file of accelerate, as `accelerate config` writes it, with processes, machines, precision and "
    "FSDP settings; a key that cannot be applied or contradicts an option is an error (default: none)",
)
