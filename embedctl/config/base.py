"""Building blocks of the configuration: options, value types, and sections that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar, cast, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from embedctl.console import plural

TINY = "tiny"
MAX_INTEGER = 2**63 - 1
HARDWARE = "Hardware and processes"  # a heading in `--help`
T = TypeVar("T")


@dataclass(frozen=True)
class CliOption:
    """How a field appears on the command line and in `--help`."""

    panel: str  # heading in `--help`, one of `embedctl.commands.help.PANELS`
    names: tuple[str, ...] = ()  # names in addition to the field's own, for example --model or -m
    metavar: str = ""  # placeholder of the value in `--help`; empty: the one of the field's type
    positional: bool = False  # whether it is a positional argument
    requires: tuple[str, ...] = ()  # fields of which at least one must be set, or else this one has no effect


def option(
    default: T,
    panel: str,
    *names: str,
    metavar: str = "",
    positional: bool = False,
    requires: tuple[str, ...] = (),
    **field: Any,
) -> T:
    """Declare a field of a section that is also a command-line option; return pydantic's `Field` for it.

    The string below the field is its description, for `--help` and for the comments of the YAML files. `field` contains
    arguments of pydantic's `Field`, such as gt=0. The other parameters are those of `CliOption`.
    """
    info = Field(default, **field)
    info.metadata.append(CliOption(panel, names, metavar, positional, requires))
    return cast(T, info)


def _as_list(value: Any) -> Any:
    return value if value is None or isinstance(value, list | tuple | dict) else [value]


def _split_commas(value: Any) -> Any:
    """Split strings at commas: `64,128` and [`64,128`] become [`64`, `128`]."""
    items = _as_list(value)
    if not isinstance(items, list | tuple):
        return value
    return [piece for item in items for piece in (item.split(",") if isinstance(item, str) else [item])]


def _check_range(text: str) -> str:
    if not re.fullmatch(r"\d+-\d+", text):
        raise ValueError("expected START-STOP, for example 10-210")
    return text


Strings = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
PositiveIntegers = Annotated[tuple[Annotated[int, Field(gt=0)], ...], BeforeValidator(_split_commas)]
Range = Annotated[str, AfterValidator(_check_range)]
# Options of several commands.
Device = Annotated[
    str | None,
    Field(description="device to compute on: cpu, cuda, cuda:1, mps (default: a GPU if there is one)"),
    CliOption(HARDWARE, ("-d",)),
]
QueryPrompt = Annotated[
    str | None, Field(description="prompt prepended to each query (default: the model's own)"), CliOption("Texts")
]
PassagePrompt = Annotated[
    str | None, Field(description="prompt prepended to each passage (default: the model's own)"), CliOption("Texts")
]


def parse_range(text: str) -> tuple[int, int]:
    """Return start and stop (not included) of a `Range` written as START-STOP, for example 10-210."""
    start, stop = map(int, text.split("-"))
    return start, stop


def check_range_size(flag: str, positions: str, neg_nums: int) -> None:
    """Raise a ValueError if a range has fewer than `neg_nums` positions."""
    first, last = parse_range(positions)
    if last - first < neg_nums:
        advice = f"use for example {flag} {first}-{first + max(200, neg_nums)}, or a lower --neg-nums"
        size = plural(max(0, last - first), "position")
        raise ValueError(f"{flag} {positions} contains {size}, fewer than --neg-nums {neg_nums}: {advice}")


@dataclass(frozen=True)
class SettingsFile:
    """An option for a file of another program that sets options of a command."""

    names: tuple[str, ...]  # on the command line
    panel: str  # heading in `--help`
    help: str
    read: Callable[[str, Mapping[str, Any]], dict[str, Any]]  # from the file and the given options to values by field

    @property
    def parameter(self) -> str:
        """The name of the command's parameter."""
        return self.names[0].removeprefix("--").replace("-", "_")


class Section(BaseModel):
    """A group of options; it is frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _switch_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false for a number; pydantic takes them for 1 and 0."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        kinds = {annotation, *get_args(annotation)}
        if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
            raise PydanticKnownError("int_type" if int in kinds else "float_type")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _integer_has_64_bits(cls, value: Any) -> Any:
        """Refuse integers that arrays and random generators cannot hold."""
        if isinstance(value, int) and value > MAX_INTEGER:
            raise PydanticCustomError("too_large", "at most {limit}", {"limit": MAX_INTEGER})
        return value


class Command(Section):
    """The options that all commands have; a subclass holds the options of one command."""

    name: ClassVar[str] = "COMMAND"  # on the command line
    main_options: ClassVar[tuple[str, ...]] = ()  # up to five fields that `--help` lists first
    settings_files: ClassVar[tuple[SettingsFile, ...]] = ()  # in addition to --config; they override its values

    json_output: bool = option(False, "Output", "--json")
    """print the result as one JSON object to stdout"""
    quiet: bool = option(False, "Output", "-q")
    """print only results, warnings and errors"""

    @classmethod
    def implied_config(cls, _flags: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Return a configuration file (or None) and flags that the given flags imply. The given flags override them."""
        return None, {}

    @property
    def interrupt_hint(self) -> str:
        """How to continue after Ctrl-C; empty if the command has to start again."""
        return ""


def model_option(default: T) -> T:
    """Return the option for the model of a command, with the names that it has in all commands."""
    return option(default, "Model", "--model", "--ckpt", "-m", metavar="MODEL", min_length=1)


class ModelSection(Section):
    """The model that a command uses."""

    model_name_or_path: str | None = model_option(None)
    """sentence-transformers or transformers model: a folder or a name on the Hugging Face Hub (default: ./out, the
    output of train)"""
    trust_remote_code: bool = option(False, "Model")
    """run Python code that comes with the model; use it only for models that you trust"""
