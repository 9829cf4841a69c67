"""Switches with a value on the command line, `--save-on-epoch-end 1`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NEGATED = "no__"  # prefix of the parameter that turns a switch off
SWITCH_VALUES = {
    name: on for on, names in ((True, "1 true yes on"), (False, "0 false no off")) for name in names.split()
}


def with_switch_values(parameters: Sequence[Any], arguments: Sequence[str]) -> list[str]:
    """Replace a switch with a value by the switch or its opposite: `--overwrite 0` by `--no-overwrite`.

    In a command that takes arguments without a name, the value could be one of these, and only `--overwrite=0` is
    replaced.
    """
    switches = {name: one for one in parameters if getattr(one, "is_flag", False) for name in one.opts}
    opposites = {one.name.removeprefix(NEGATED): one.opts[0] for one in parameters if one.name.startswith(NEGATED)}
    takes_arguments = any(one.param_type_name == "argument" for one in parameters)
    replaced: list[str] = []
    rest = list(arguments)
    while rest and rest[0] != "--":
        item = rest.pop(0)
        name, equals, value = item.partition("=")
        switch = switches.get(name.replace("_", "-"))
        if switch is not None and not equals and not takes_arguments and rest and rest[0].lower() in SWITCH_VALUES:
            value = rest.pop(0)
        on = SWITCH_VALUES.get(value.lower())
        if switch is None or on is None or switch.name not in opposites:
            replaced.append(item)
        else:
            replaced.append(switch.opts[0] if on else opposites[switch.name])
    return replaced + rest
