"""`python -m embedctl.config` writes the shipped configuration files anew, after an option was added or changed."""

from __future__ import annotations

from pathlib import Path

from embedctl.config import Command, commented, leaves
from embedctl.resources import config_file


def write(folder: Path) -> None:
    """Write the file of every command that has options of its own."""
    for command in Command.__subclasses__():
        if len(leaves(command)) > len(leaves(Command)):
            (folder / f"{command.name}.yaml").write_text(commented(command), encoding="utf-8")


if __name__ == "__main__":
    write(config_file("default_fsdp.yaml").parent)
