"""Which settings a resumed run must share with its checkpoint; all others may change. Does not import torch.

The order of the data and the trained weights depend on the fixed settings, so a change would make batches of other rows
or would not fit to the weights. They are stored in the checkpoint, because config.yaml can be edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedctl.config import flag_of
from embedctl.data.sources import parse_dataset_options
from embedctl.digests import digest_file
from embedctl.errors import ConfigError
from embedctl.files import read_json_object
from embedctl.run_folder import RunFolder

PROGRESS_FILE = "position.json"
FIXED_OPTIONS = (
    *("model_name_or_path", "pooling", "lora_rank", "lora_alpha", "lora_target_modules"),
    *("query_prompt", "passage_prompt"),  # of the evaluations so far, and of the exported model
    *("positives", "one_dataset_per_batch", "mrl_dims", "batch_size", "gradient_accumulation_steps", "seed"),
)
FILE_OPTIONS = ("dataset", "eval_dataset")  # their files may be moved, but not changed


def fixed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fixed settings by the name of the option: values, and for files a digest of the bytes and the weight.

    `settings` is the whole configuration of the run, by section and option.
    """
    options = {
        name: value for section in settings.values() if isinstance(section, dict) for name, value in section.items()
    }
    fixed = {name: options[name] for name in FIXED_OPTIONS}
    fixed["dataset"] = [
        [digest_file(Path(source.path)), source.weight] for source in parse_dataset_options(options["dataset"])
    ]
    fixed["eval_dataset"] = [digest_file(Path(name)) for name in options["eval_dataset"]]
    return fixed


def stored_settings(resume: str, run: Path) -> dict[str, Any]:
    """Return the fixed settings in the newest checkpoint that `--resume` can refer to; empty if there is none."""
    folder = run if resume == "latest" else Path(resume)
    checkpoints = (folder, *RunFolder(folder).checkpoints)
    stored = (read_json_object(path / PROGRESS_FILE).get("settings") for path in checkpoints)
    return next((settings for settings in stored if isinstance(settings, dict)), {})


def check_unchanged(stored: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Check that a resumed run has the fixed settings of its checkpoint.

    A run without evaluation rows may get some. A checkpoint of an earlier version has no settings.

    Raises:
        ConfigError: lists the options that differ.
    """
    changed = [name for name, value in stored.items() if value != settings.get(name, value)]
    if not stored.get("eval_dataset"):
        changed = [name for name in changed if name != "eval_dataset"]
    if changed:
        messages = [_difference(name, stored[name], settings[name]) for name in changed]
        hint = "remove these options, or give the values of the run; to change them, start a new run without --resume"
        raise ConfigError("\n  ".join(messages), hint)


def _difference(name: str, stored: Any, value: Any) -> str:
    if name in FILE_OPTIONS:
        return f"{flag_of(name)}: the resumed run was started with other rows or weights"
    return f"{flag_of(name)}: the resumed run was started with {_shown(stored)}, not {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
