"""Configurations from YAML and flags, and back to YAML: every fault at once, each with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from embedctl.config.base import Command, Flag, Section
from embedctl.errors import ConfigError

HEAD = """\
# Every option of `embedctl {}` with its default. Copy what you change and give it with --config;
# a flag on the command line wins over the file. An unknown key is an error."""
CONFIG_HINT = "compare it with the commented file of the command in the folder config"

C = TypeVar("C", bound=Command)


def leaves(config: type[BaseModel], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], FieldInfo]:
    """Every option of a configuration: its path through the sections and its pydantic field."""
    found: dict[tuple[str, ...], FieldInfo] = {}
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found |= leaves(field.annotation, (*path, name))
        else:
            found[*path, name] = field
    return found


def shown_as(field: FieldInfo) -> Flag:
    """How a field appears on the command line."""
    return next(item for item in field.metadata if isinstance(item, Flag))


def flag_of(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def load(config: type[C], file: str | None = None, flags: dict[str, Any] | None = None) -> C:
    """The configuration from defaults, a YAML file and flags, the later winning.

    Args:
        config: the command's configuration type.
        file: a YAML file of the sections' keys, or None.
        flags: field name to value, only what the user typed.

    Raises:
        ConfigError: lists every fault at once.
    """
    flags = flags or {}
    merged = _read_yaml(file) if file else {}
    typed = [path for path in leaves(config) if path[-1] in flags]
    for path in typed:
        _put(merged, path, flags[path[-1]])
    try:
        return config.model_validate(merged)
    except ValidationError as invalid:
        faults = [_fault(error, typed, file) for error in invalid.errors()]
        hint = f"see `embedctl {config.name} --help` for the options and their values"
        raise ConfigError("\n  ".join(faults), hint) from None


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value in a nested mapping; a section that is no mapping stays, for validation to name it."""
    section: Any = document
    for name in path[:-1]:
        section = section.setdefault(name, {})
    if isinstance(section, dict):
        section[path[-1]] = value


def _fault(error: Any, typed: list[tuple[str, ...]], file: str | None) -> str:
    names = tuple(str(part) for part in error["loc"] if not isinstance(part, int))
    message = error["msg"].removeprefix("Value error, ")
    if not names:
        return str(message)
    own = next((path for path in typed if names[: len(path)] == path), None)
    place = flag_of(own[-1]) if own else f"{file}: {'.'.join(names)}" if file else flag_of(names[-1])
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key"
    return f"{place}: {message[0].lower()}{message[1:]}, not {error['input']!r}"


def _not_yaml(file: str, cause: yaml.YAMLError) -> str:
    """Where a file stops to be YAML, and why."""
    mark = cause.problem_mark if isinstance(cause, yaml.MarkedYAMLError) else None
    place = f"{file}:{mark.line + 1}" if mark else file
    return f"{place}: not YAML: {cause.problem if isinstance(cause, yaml.MarkedYAMLError) else cause}"


def _read_yaml(file: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as missing:
        raise ConfigError(f"--config: {file}: {missing.strerror}", "check the name of the file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--config: {file}: not YAML: it is not UTF-8", CONFIG_HINT) from None
    except yaml.YAMLError as invalid:
        raise ConfigError(f"--config: {_not_yaml(file, invalid)}", CONFIG_HINT) from None
    if not isinstance(document or {}, dict):
        raise ConfigError(f"--config: {file}: a mapping of sections is expected", CONFIG_HINT)
    return {name: value for name, value in (document or {}).items() if value is not None}


def dump(config: Command) -> str:
    """The configuration as YAML that `load` reads back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def commented(config: type[Command]) -> str:
    """The shipped YAML file of a command: every option but the positional ones, with its default and its words."""
    sections: dict[tuple[str, ...], list[str]] = {}
    for (*section, name), field in leaves(config).items():
        if not shown_as(field).positional:
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            value = yaml.safe_dump(default, default_flow_style=True).splitlines()[0]
            sections.setdefault(tuple(section), []).append(f"{name}: {value}  # {field.description}")
    own = "\n".join(sections.pop((), []))
    blocks = ["\n  ".join((f"{section}:", *lines)) for (section,), lines in sections.items()]
    return "\n\n".join((HEAD.format(config.name), *blocks, own)) + "\n"
