"""Generate the command-line options of a command from its configuration class.

Typer receives a generated signature, so names, defaults and descriptions of options are defined only in
embedctl/config/. Values are passed to pydantic unchanged and together, so that all errors are reported at once.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

import typer
from pydantic.fields import FieldInfo

from embedctl import console
from embedctl.commands.help import MAIN_OPTIONS, OUTPUT
from embedctl.commands.switches import NEGATED
from embedctl.config import Command, choices, cli_option, description, flag_of, load, option_fields
from embedctl.errors import Stopped, Terminated

C = TypeVar("C", bound=Command)
METAVARS = {int: "INT", float: "NUMBER", str: "TEXT"}
CONFIG_HELP = "YAML file with values for these options; options on the command line override it (default: none)"


def with_options(config_type: type[C]) -> Callable[[Callable[[C], None]], Callable[..., None]]:
    """Return a decorator that turns `command(config)` into a function with a Typer parameter for each option."""
    return partial(_with_parameters, config_type)


def _with_parameters(config_type: type[C], command: Callable[[C], None]) -> Callable[..., None]:
    """Return the function that Typer inspects and calls; its parameters are the command-line options."""

    def _run(**values: Any) -> None:
        hint = ""
        try:
            resolved = _resolve(config_type, values)
            hint = resolved.interrupt_hint
            console.configure(quiet=resolved.quiet)
            command(resolved)
        except (KeyboardInterrupt, Terminated) as stop:  # Typer would exit without a message
            raise Stopped.by(stop, hint) from None

    parameters = [
        parameter for name, field, panel in _fields(config_type) for parameter in _parameters(name, field, panel)
    ]
    file = typer.Option("--config", metavar="FILE", help=CONFIG_HELP, rich_help_panel=OUTPUT)
    parameters.append(_parameter("config_file", str, file))
    for other in config_type.settings_files:
        info = typer.Option(*other.names, metavar="FILE", help=other.help, rich_help_panel=other.panel)
        parameters.append(_parameter(other.parameter, str, info))
    _run.__name__, _run.__doc__ = command.__name__, command.__doc__
    _run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    _run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return _run


def _fields(config_type: type[C]) -> list[tuple[str, FieldInfo, str]]:
    """Return name, field and panel of each option: the main options first, in their order, in a panel of their own."""
    fields = {path[-1]: field for path, field in option_fields(config_type).items()}
    main = [(name, fields.pop(name), MAIN_OPTIONS) for name in config_type.main_options]
    return main + [(name, field, cli_option(field).panel) for name, field in fields.items()]


def _resolve(config_type: type[C], values: dict[str, Any]) -> C:
    """Return the configuration from Typer's values; an option that the user did not set is None or empty."""
    given = {name: value for name, value in values.items() if value not in (None, [], ())}
    file = given.pop("config_file", None)
    negated = {name.removeprefix(NEGATED): False for name in given if name.startswith(NEGATED)}
    flags = {name: value for name, value in given.items() if not name.startswith(NEGATED)} | negated
    files = [(other, flags.pop(other.parameter)) for other in config_type.settings_files if other.parameter in flags]
    implied_file, implied_flags = config_type.implied_config(flags)
    for other, path in files:
        implied_flags |= other.read(path, flags)
    return load(config_type, file or implied_file, implied_flags | flags)


def _parameter(name: str, kind: Any, info: Any) -> inspect.Parameter:
    """Return a parameter of the type that Typer parses; its value is None if the user did not set it."""
    annotation = Annotated[kind | None, info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _parameters(name: str, field: FieldInfo, panel: str) -> list[inspect.Parameter]:
    """Return the parameter of a field, and for a switch also its hidden opposite, which can override a YAML file."""
    option = cli_option(field)
    kind, metavar = _kind(field.annotation)
    metavar = option.metavar or metavar
    if option.positional:
        return [_parameter(name, kind, typer.Argument(metavar=metavar, help=_help(field), rich_help_panel=panel))]
    names = [*option.names, flag_of(name)]
    if kind is bool and any(other.startswith("--") for other in option.names):
        names.pop()  # only --json, not --json-output too
    info = typer.Option(*names, help=_help(field), metavar=metavar, show_default=False, rich_help_panel=panel)
    if kind is not bool:
        return [_parameter(name, kind, info)]
    opposite = typer.Option(f"--no-{flag_of(name).removeprefix('--')}", hidden=True)
    return [_parameter(name, kind, info), _parameter(NEGATED + name, kind, opposite)]


def _help(field: FieldInfo) -> str:
    """Return the description of a field with its default, which Typer does not receive."""
    if field.default is None or field.default is False or field.default == ():
        return description(field)
    return f"{description(field)} (default: {'on' if field.default is True else field.default})"


def _kind(annotation: Any) -> tuple[Any, str]:
    """Return the type that Typer parses (text, a list of texts or a switch), and the placeholder of its value."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kind = next(kind for kind in typing.get_args(annotation) if kind is not type(None)) if is_union else annotation
    if kind is bool:
        return bool, ""
    if values := choices(kind):
        return str, "|".join(values)
    if typing.get_origin(kind) is tuple:
        return list[str], "TEXT"
    return str, METAVARS.get(kind, "TEXT")
