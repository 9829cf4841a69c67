"""Load a configuration from YAML and command-line options, and write it as YAML. All errors are reported at once."""

from __future__ import annotations

import textwrap
import typing
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from embedctl.config import yaml_file
from embedctl.config.base import CliOption, Command, Section
from embedctl.config.expected import UNKNOWN_KEY, describe
from embedctl.credentials import credential_in
from embedctl.errors import ConfigError
from embedctl.resources import config_file

COMMENT = textwrap.TextWrapper(
    100, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
)
HEADER = """\
# All options of `embedctl {name}` with their default values. To change some of them, copy their
# lines and the names of their sections to a file of your own, and run
# `embedctl {name} --config FILE`. Options on the command line override the file. An option that is
# null is not set."""

C = TypeVar("C", bound=Command)


def option_fields(config_type: type[BaseModel], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], FieldInfo]:
    """Return a dict from the path of each option to its pydantic field. Options of all commands come last.

    A path consists of the names of the sections and the name of the field.
    """
    fields: dict[tuple[str, ...], FieldInfo] = {}
    for name, field in sorted(config_type.model_fields.items(), key=lambda item: item[0] in Command.model_fields):
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            fields |= option_fields(field.annotation, (*path, name))
        else:
            fields[*path, name] = field
    return fields


def cli_option(field: FieldInfo) -> CliOption:
    """Return how a field appears on the command line."""
    return next(item for item in field.metadata if isinstance(item, CliOption))


def description(field: FieldInfo) -> str:
    """Return the description of an option on one line."""
    return " ".join((field.description or "").split())


def choices(annotation: Any) -> tuple[str, ...]:
    """Return the values of a Literal, also of an optional one; empty for other types."""
    kinds = (annotation, *typing.get_args(annotation))
    return next((typing.get_args(kind) for kind in kinds if typing.get_origin(kind) is typing.Literal), ())


def flag_of(name: str) -> str:
    """Return the option name of a field: `--neg-nums` for `neg_nums`."""
    return "--" + name.replace("_", "-")


def load(config_type: type[C], file: str | None = None, flags: dict[str, Any] | None = None) -> C:
    """Return the configuration from defaults, a YAML file and command-line options; later ones override earlier ones.

    `flags` contains the value of each field that the user set on the command line.

    Raises:
        ConfigError: lists all errors.
    """
    flags = flags or {}
    merged, lines = _read_yaml(file, config_type) if file else ({}, {})
    set_paths = [path for path in option_fields(config_type) if path[-1] in flags]
    for path in set_paths:
        _set_value(merged, path, flags[path[-1]])
    _check_credentials(merged)
    try:
        config = config_type.model_validate(merged)
    except ValidationError as invalid:
        messages = [_message(error, set_paths, file, lines) for error in invalid.errors()]
        unknown = any(error["type"] in UNKNOWN_KEY for error in invalid.errors())
        raise ConfigError("\n  ".join(messages), (_keys_hint if unknown else _help_hint)(config_type)) from None
    if messages := _options_without_effect(config):
        raise ConfigError("\n  ".join(messages), _help_hint(config_type))
    return config


def _options_without_effect(config: Command) -> list[str]:
    """Return a message for each option that is set although none of the options that it requires is set.

    An option is set if its value is not the default, so that a configuration that `dump` wrote is accepted.
    """
    fields = option_fields(type(config))
    values = {path[-1]: reduce(getattr, path, config) for path in fields}
    is_set = {path[-1]: values[path[-1]] != field.default for path, field in fields.items()}
    required = {path[-1]: cli_option(field).requires for path, field in fields.items()}
    return [
        f"{flag_of(name)} has no effect without {' or '.join(map(flag_of, others))}"
        for name, others in required.items()
        if others and is_set[name] and not any(is_set[other] for other in others)
    ]


def _check_credentials(content: Any, name: str = "") -> None:
    """Raise a ConfigError if a value contains a credential; values are written to files, messages and trackers."""
    if isinstance(content, str) and (found := credential_in(content)):
        hint = "remove it; set HF_TOKEN or run `hf auth login` to use a private model of the Hugging Face Hub"
        raise ConfigError(f"{flag_of(name)} contains {found}, which would be written to files and messages", hint)
    items = content.items() if isinstance(content, dict) else ()
    parts = [(name, part) for part in content] if isinstance(content, list | tuple) else items
    for key, part in parts:
        _check_credentials(part, str(key))


def _help_hint(config_type: type[Command]) -> str:
    return f"see `embedctl {config_type.name} --help` for the options and their values"


def _keys_hint(config_type: type[Command]) -> str:
    """Return the hint of an error in the keys of a configuration file."""
    try:
        return f"compare it with {config_file(f'{config_type.name}.yaml')}, which lists all keys"
    except FileNotFoundError:  # the command has no options of its own
        return _help_hint(config_type)


def _set_value(content: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value in a nested mapping; leave a section that is not a mapping, so that validation reports it."""
    section: Any = content
    for name in path[:-1]:
        section = section.setdefault(name, {})
    if isinstance(section, dict):
        section[path[-1]] = value


def _message(error: Any, set_paths: list[tuple[str, ...]], file: str | None, lines: dict[tuple[str, ...], int]) -> str:
    """Return the message of one of pydantic's errors: the option, or the file with line and key; and what is wrong.

    `set_paths` are the paths of the options on the command line; `lines` are the lines of the keys of the file.
    """
    if error["type"] == "value_error" and isinstance(error["input"], dict):  # a rule about several options
        return str(error["ctx"]["error"])
    names = tuple(str(part) for part in error["loc"] if not isinstance(part, int) or error["type"] == "invalid_key")
    flag_path = next((path for path in set_paths if names[: len(path)] == path), None)
    line = f":{lines[names]}" if names in lines else ""
    in_file = f"{file}{line}: {'.'.join(names)}"
    source = flag_of(flag_path[-1]) if flag_path else in_file if file else flag_of(names[-1])
    return f"{source}: {describe(error)}"


def _yaml_message(file: str, cause: yaml.YAMLError) -> str:
    """Return the file and line of a YAML syntax error, and its description."""
    mark = cause.problem_mark if isinstance(cause, yaml.MarkedYAMLError) else None
    location = f"{file}:{mark.line + 1}" if mark else file
    return f"{location}: not YAML: {cause.problem if isinstance(cause, yaml.MarkedYAMLError) else cause}"


def read_yaml(file: str, option: str, hint: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """Return the content of the YAML file of an option, and the lines of its keys by the names of sections and key.

    Raises:
        ConfigError: the file cannot be read or is not YAML.
    """
    try:
        return yaml_file.parse(Path(file).read_text(encoding="utf-8"))
    except OSError as cause:
        raise ConfigError(f"{option}: {file}: {cause.strerror}", "check the name of the file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{option}: {file}: not YAML: the file is not UTF-8", hint) from None
    except yaml.YAMLError as invalid:
        raise ConfigError(f"{option}: {_yaml_message(file, invalid)}", hint) from None
    except RecursionError:
        raise ConfigError(f"{option}: {file}: values are nested too deeply", hint) from None


def _read_yaml(file: str, config_type: type[Command]) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """Return the content of a configuration file without its empty values, and the lines of its keys.

    `config_type.name` is used in the hints.
    """
    hint = _keys_hint(config_type)
    content, lines = read_yaml(file, "--config", hint)
    if not isinstance(content or {}, dict):
        raise ConfigError(f"--config: {file}: expected sections with keys and values", hint)
    return {name: value for name, value in (content or {}).items() if value is not None}, lines


def check_complete(file: str, config_type: type[Command]) -> None:
    """Check that a configuration which `dump` wrote is complete.

    Raises:
        ConfigError: it is empty or truncated, so the settings of the run are lost.
    """
    content: Any = _read_yaml(file, config_type)[0]
    expected: Any = config_type().model_dump()
    while isinstance(expected, dict):  # down to the option that is written last
        last = next(reversed(expected))
        content, expected = content.get(last) if isinstance(content, dict) else None, expected[last]
    if content is None:
        message = f"{file}: the file is empty or truncated, so the settings of the run are lost"
        raise ConfigError(message, "restore the file, or start a new run in another folder")


def dump(config: Command) -> str:
    """Return the configuration as YAML; `load` reads it back to an equal configuration."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def commented_yaml(config_type: type[Command]) -> str:
    """Return the shipped YAML file of a command: each option with its default, below a comment with its description.

    Positional arguments are left out.
    """
    sections: dict[tuple[str, ...], list[str]] = {}
    for (*section, name), field in option_fields(config_type).items():
        if not cli_option(field).positional:
            sections.setdefault(tuple(section), []).append(_commented_line(name, field))
    top_level = "\n".join(sections.pop((), []))
    blocks = [f"{section}:\n" + textwrap.indent("\n".join(lines), "  ") for (section,), lines in sections.items()]
    return "\n\n".join((HEADER.format(name=config_type.name), *blocks, top_level)) + "\n"


def _commented_line(name: str, field: FieldInfo) -> str:
    """Return the comment lines and the line of one option."""
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    value = yaml.safe_dump(default, default_flow_style=True).splitlines()[0]
    comment = COMMENT.fill(description(field))
    if values := choices(field.annotation):
        comment += f"\n# values: {', '.join(values)}"
    return f"{comment}\n{name}: {value}"
