"""`python -m embedctl.config`: write the shipped configuration files again after an option was added or changed."""

from __future__ import annotations

from pathlib import Path

from embedctl.config import Command, commented_yaml, option_fields
from embedctl.resources import config_file


def write(folder: Path) -> None:
    """Write the configuration file of each command that has options of its own."""
    for config_type in Command.__subclasses__():
        if len(option_fields(config_type)) > len(option_fields(Command)):
            (folder / f"{config_type.name}.yaml").write_text(commented_yaml(config_type), encoding="utf-8")


if __name__ == "__main__":
    write(config_file("default_fsdp.yaml").parent)
