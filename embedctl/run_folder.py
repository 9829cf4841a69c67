"""The output folder of a training run: which files in it belong to runs, and the removal of an earlier run.

`.embedctl-files.json` lists the files that runs of embedctl wrote. Only these files are ever replaced or removed. While
a new run checks its inputs, its configuration is in `.embedctl-next/`; the earlier run stays complete until then.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from embedctl.errors import ConfigError
from embedctl.files import remove, write_atomically
from embedctl.outputs import Output

CONFIG_FILE, LIST_FILE, NEXT_FOLDER = "config.yaml", ".embedctl-files.json", ".embedctl-next"
MODEL_FILE, SUMMARY_FILE = "modules.json", "embedctl.json"  # the first and the last file of a model that is removed
CHECKPOINTS = "states"  # the folder of checkpoints for --resume
# Workers write these without listing them.
FAILURE_REPORTS = ("error.rank[0-9]*.json", "traceback.rank[0-9]*.txt")
# Names that a run may write. The files of earlier versions, which wrote no list, are recognised by them.
RUN_NAMES = (
    *("config.yaml", "accelerate.yaml", "metrics.jsonl", *FAILURE_REPORTS),
    *("states", "checkpoints", "embedctl.json", "modules.json", "[0-9]*_*", "README.md"),
    *("*.safetensors", "*.safetensors.index.json", "config.json", "config_sentence_transformers.json"),
    *("sentence_bert_config.json", "tokenizer*", "vocab*", "merges.txt", "*.model", "chat_template*"),
    *("special_tokens_map.json", "added_tokens.json", "preprocessor_config.json", "processor_config.json"),
)


@dataclass(frozen=True)
class RunFolder:
    """The output folder of a run, which may contain an earlier run and other files."""

    path: Path

    @property
    def output(self) -> Output:
        """The folder as an output of `train`."""
        return Output("--output-dir", self.path, "training run", "managed")

    @property
    def next(self) -> Path:
        """The folder of the configuration of a run that will replace an earlier one."""
        return self.path / NEXT_FOLDER

    @property
    def has_model(self) -> bool:
        """Whether the folder contains a complete model."""
        return (self.path / MODEL_FILE).exists()

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints for --resume, newest first; they may be incomplete or damaged."""
        return sorted((self.path / CHECKPOINTS).glob("step-*"), reverse=True)

    @property
    def is_run(self) -> bool:
        """Whether a run of embedctl wrote to the folder; runs of earlier versions are recognised by their files."""
        known = (LIST_FILE, SUMMARY_FILE)
        return any((self.path / name).exists() for name in known) or any(
            (self.path / CHECKPOINTS).glob("step-*/position.json")
        )

    def run_files(self) -> list[str]:
        """Return the files and folders that runs wrote, relative to this folder."""
        if not self.is_run:
            return []
        reports = [path.name for path in self.path.iterdir() if _matches(path.name, FAILURE_REPORTS)]
        try:
            listed = json.loads((self.path / LIST_FILE).read_text(encoding="utf-8"))
            return [*filter(_may_be_listed, map(str, listed)), *reports]
        except FileNotFoundError:
            return [path.name for path in self.path.iterdir() if _is_run_name(path.name)]
        except (ValueError, TypeError, RecursionError):
            return []  # a damaged list: nothing is removed, and the files are reported as files of the user

    def other_files(self) -> list[str]:
        """Return what is in the folder with a name that a run writes, but was not written by a run."""
        if not self.path.is_dir():
            return []
        roots = {Path(name).parts[0] for name in self.run_files()}
        return sorted(path.name for path in self.path.iterdir() if _is_run_name(path.name) and path.name not in roots)

    def add(self, names: Iterable[str]) -> None:
        """Add files or folders to the list, before they are written. Only rank 0 calls this."""
        listed = [name for name in self.run_files() if (self.path / name).exists()]
        write_atomically(self.path / LIST_FILE, json.dumps(sorted({*listed, *names}), indent=0))

    def check_inputs(self, inputs: Mapping[str, Iterable[str]]) -> None:
        """Check that no input of the new run is a file of the earlier run, which will be removed.

        Args:
            inputs: the paths of each option; names that do not exist are ignored.

        Raises:
            ConfigError: an input is inside the earlier run.
        """
        removed = [(self.path / name).resolve() for name in self.run_files()]
        for option, paths in inputs.items():
            for path in map(Path, paths):
                if path.exists() and any(path.resolve().is_relative_to(name) for name in removed):
                    message = f"{option} {path} belongs to the run in {self.path} that would be replaced"
                    raise ConfigError(message, "give another folder with --output-dir")

    def remove_run(self) -> None:
        """Remove the earlier run. If this is interrupted, no command loads the remaining files as a model."""
        self.remove_files(self.run_files())
        write_atomically(self.path / LIST_FILE, "[]")

    def remove_files(self, names: Iterable[str]) -> None:
        """Remove files of a run, and the folders that are empty then. modules.json is first, embedctl.json last."""
        names = sorted(names, key=lambda name: (name != MODEL_FILE, name == SUMMARY_FILE))
        for name in names:
            remove(self.path / name)
        folders = {parent for name in names for parent in Path(name).parents} - {Path()}
        for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
            with suppress(OSError):  # it contains files of the user
                (self.path / folder).rmdir()

    def remove_below(self, folder: Path) -> None:
        """Remove the files of the run in a folder inside the output folder."""
        root = folder.relative_to(self.path)
        self.remove_files([name for name in self.run_files() if Path(name).is_relative_to(root)])

    def start_next(self) -> None:
        """Replace the earlier run by the one whose configuration is in `next`. Call this after its inputs are read."""
        self.remove_run()
        self.add([CONFIG_FILE])
        (self.next / CONFIG_FILE).replace(self.path / CONFIG_FILE)

    def discard_next(self) -> None:
        """Remove what a run left that was stopped before it replaced the earlier one."""
        shutil.rmtree(self.next, ignore_errors=True)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _is_run_name(name: str) -> bool:
    return _matches(name, RUN_NAMES)


def _may_be_listed(name: str) -> bool:
    """Return whether a run may write a file with this name. A list from another program can contain other names."""
    parts = Path(name).parts
    return bool(parts) and ".." not in parts and _is_run_name(parts[0])


def is_incomplete_model(folder: Path) -> bool:
    """Return whether a folder belongs to a run that has not written its model completely."""
    marked = (folder / LIST_FILE).exists() or (folder / SUMMARY_FILE).exists()
    return marked and not (folder / MODEL_FILE).exists()
