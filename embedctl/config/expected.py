"""Messages about values that pydantic rejects: what the option expects, in the words of its help."""

from __future__ import annotations

from typing import Any

# pydantic's type of error: what is expected. {name} is a key of the error's `ctx`.
EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "a smaller integer",
    "int_type": "an integer",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "literal_error": "{expected}",
    "model_type": "a section with keys and values",
    "string_too_short": "text",
    "string_type": "text",
    "too_short": "a list with at least one value",
    "tuple_type": "a list",
}
UNKNOWN_KEY = ("extra_forbidden", "invalid_key")
TEXT_TYPES = ("literal_error", "string_type")  # YAML reads an unquoted `no` as false, and 5 as a number
YAML_NAMES = {None: "null", True: "true", False: "false"}


def describe(error: Any) -> str:
    """Return what is wrong with the value of one of pydantic's errors: `expected a number, not 'fast'`."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in UNKNOWN_KEY:
        return "unknown key"
    expected = EXPECTED.get(kind, "").format(**context)
    found = YAML_NAMES[value] if value is None or isinstance(value, bool) else repr(value)
    if not expected:
        return f"{error['msg'].removeprefix('Value error, ')}, not {found}"
    advice = "; in YAML, write the value in quotes" if kind in TEXT_TYPES and isinstance(value, int | float) else ""
    return f"expected {expected.replace(chr(39), '')}, not {found}{advice}"
