"""What every option is made of: its flag, its kind of value, and the sections that more than one command has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

TINY = "tiny"
T = TypeVar("T")


@dataclass(frozen=True)
class Flag:
    """How a field appears on the command line."""

    panel: str  # the heading in `--help` under which it stands
    names: tuple[str, ...] = ()  # further names beside the field's own; `-x` for a short one
    positional: str = ""  # what help shows for an argument without a flag; empty for a flag


def option(default: T, panel: str, description: str, *names: str, positional: str = "", **bounds: Any) -> T:
    """The default of a field that is an option: pydantic's `Field` with the bounds, and the `Flag` of the rest."""
    field = Field(default, description=description, **bounds)
    field.metadata.append(Flag(panel, names, positional))
    return cast(T, field)


def _split_commas(value: Any) -> Any:
    """`64,128` and [`64,128`] are lists of two."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple):
        return [piece for item in value for piece in (item.split(",") if isinstance(item, str) else [item])]
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Strings = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
Integers = Annotated[tuple[Annotated[int, Field(gt=0)], ...], BeforeValidator(_split_commas)]
Range = Annotated[str, Field(pattern=r"^\d+-\d+$")]
# Options of several commands.
Device = Annotated[
    str | None, Field(description="cpu, cuda, cuda:1, mps; the GPU where there is one"), Flag("Machine", ("-d",))
]
QueryPrompt = Annotated[
    str | None, Field(description="put before each query; the model's own by default"), Flag("Texts")
]
PassagePrompt = Annotated[
    str | None, Field(description="put before each passage; the model's own by default"), Flag("Texts")
]


def bounds(positions: str) -> tuple[int, int]:
    """The first position of a `Range`, and the one before which it ends."""
    first, last = map(int, positions.split("-"))
    return first, last


def expect_positions(flag: str, positions: str, number: int) -> None:
    """Raise a ValueError if a range holds fewer positions than there are to be negatives."""
    first, last = bounds(positions)
    if last - first < number:
        wanted = f"e.g. {flag} {first}-{first + max(200, number)}, or a lower --neg-nums"
        held = f"{flag} {positions} holds {max(0, last - first)} ranks"
        raise ValueError(f"{held}, fewer than --neg-nums {number}: {wanted}")


class Section(BaseModel):
    """A frozen group of options that knows no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Command(Section):
    """What every command takes; `name` is the command's."""

    name: ClassVar[str] = "COMMAND"

    json_output: bool = option(False, "Output", "print one JSON document to stdout", "--json")
    quiet: bool = option(False, "Output", "print results and errors only", "-q")

    @classmethod
    def stored(cls, _flags: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """A configuration file that the flags refer to without --config, and flags that follow from it."""
        return None, {}

    @property
    def after_interrupt(self) -> str:
        """What Ctrl-C leaves to be done, where something is kept."""
        return ""


class ModelSection(Section):
    """Which model."""

    model_name_or_path: str | None = option(
        None,
        "Model",
        "a sentence-transformers or transformers folder, or a hub name; default: the last run's output",
        "--model",
        "--ckpt",
        "-m",
        min_length=1,
    )
    trust_remote_code: bool = option(False, "Model", "run Python code that comes with the model")
