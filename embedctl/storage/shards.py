"""An output folder of embeddings in numbered .npy files (shards). An interrupted run can be continued.

`manifest.json` contains the settings that the vectors depend on and lists the shards: number of rows, hash of the file,
hash of its texts. Until the run is complete, the entry of each finished shard is in a .json file beside it, so that
several ranks can write at the same time. A continued run reads its input from the start and skips a finished shard if
its texts are the same. The resulting files are identical to those of an uninterrupted run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.config import flag_of
from embedctl.digests import digest_file
from embedctl.distributed.ranks import broadcast, is_main
from embedctl.errors import ConfigError, OutputError
from embedctl.files import read_json_object, write_atomically
from embedctl.locks import LOCK_FILE
from embedctl.storage.writers import write_array
from embedctl.write_errors import writing

MANIFEST = "manifest.json"
SHARD_FILE = re.compile(r"shard-\d{5,}\.(npy|json)")
FOLDER_HINT = (
    "give another folder with --output, or start again in this folder with --overwrite, which deletes only its shards"
)


class ShardFolder:
    """The folder of shards and its manifest. Every rank creates this object; only rank 0 reads and writes the manifest.

    Args:
        folder: the folder; created if it does not exist.
        settings: what the vectors depend on besides the texts; a run with other settings cannot be continued.
        overwrite: delete the shards in the folder and start again; other files are kept.

    Raises:
        ConfigError: the shards were made with other settings, or the folder contains other files.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], *, overwrite: bool) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = {**settings, "ranges": None, "rows": 0, "shards": [], "complete": False}
        self.entries: dict[int, dict[str, Any]] = {}
        if is_main():
            self._open(settings, overwrite=overwrite)
        self.manifest, self.entries = broadcast((self.manifest, self.entries))

    def _open(self, settings: dict[str, Any], *, overwrite: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for old in [path for path in self.folder.iterdir() if SHARD_FILE.fullmatch(path.name) and path.is_file()]:
                old.unlink()
        elif (self.folder / MANIFEST).exists():
            self.manifest = self._read_manifest(settings)
            self.entries = dict(enumerate(self.manifest["shards"]))
            self._read_entries()
        elif any(path.name != LOCK_FILE for path in self.folder.iterdir()):
            raise ConfigError(f"--output {self.folder}: the folder contains files that are not shards", FOLDER_HINT)
        _write_json(self.folder / MANIFEST, self.manifest)

    def _read_entries(self) -> None:
        """Read the entries of finished shards that are not in the manifest yet."""
        for path in self._entry_files():
            index = int(path.stem.removeprefix("shard-"))
            entry = read_json_object(path)
            if _is_entry(entry, index) and _are_ranges(entry.get("ranges", 0)):
                self.manifest["ranges"] = entry.pop("ranges")
                self.entries[index] = entry
            else:
                console.warn(f"{path}: the file is damaged, so the texts of this shard are encoded again")

    def _entry_files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("shard-*.json") if SHARD_FILE.fullmatch(path.name))

    def _read_manifest(self, settings: dict[str, Any]) -> dict[str, Any]:
        manifest = read_json_object(self.folder / MANIFEST)
        is_valid = {"ranges", "rows", "shards", "complete"} <= manifest.keys() and _are_ranges(manifest["ranges"])
        shards = manifest["shards"] if is_valid else None
        changed = [name for name, value in settings.items() if manifest.get(name) != value]
        if not isinstance(shards, list) or not all(_is_entry(entry, index) for index, entry in enumerate(shards)):
            raise ConfigError(f"{self.folder / MANIFEST}: the file is not a manifest of shards", FOLDER_HINT)
        if changed:
            names = ", ".join(map(flag_of, changed))
            message = f"--output {self.folder}: the folder contains embeddings made with other settings: {names}"
            raise ConfigError(message, FOLDER_HINT)
        return manifest

    @property
    def ranges(self) -> NDArray[np.float32] | None:
        """(2, H) minimum and maximum of each dimension for int8; None for other types."""
        ranges = self.manifest["ranges"]
        return None if ranges is None else np.array(ranges, dtype=np.float32)

    def is_complete(self, index: int, texts: Sequence[str]) -> bool:
        """Return whether shard `index`, with the embeddings of `texts`, is complete; warn if it is missing or damaged.

        Raises:
            ConfigError: the shard was made from other texts.
        """
        if index not in self.entries:
            return False
        entry = self.entries[index]
        if entry["texts"] != _hash_texts(texts):
            message = f"--output {self.folder}: {entry['file']} was made from texts that differ from the input"
            raise ConfigError(message, FOLDER_HINT)
        path = self.folder / entry["file"]
        if path.is_file() and digest_file(path) == entry["sha256"]:
            return True
        console.warn(f"{path}: the file is missing or damaged, so its texts are encoded again")
        return False

    def write(
        self, index: int, texts: Sequence[str], vectors: NDArray[Any], ranges: NDArray[np.float32] | None = None
    ) -> None:
        """Write shard `index`: N texts, their vectors (N, H) in the stored type, and the ranges of int8."""
        path = self.folder / f"shard-{index:05d}.npy"
        write_array(path, vectors)
        with writing(path):
            sha256 = digest_file(path)
        entry = {"file": path.name, "rows": len(texts), "sha256": sha256, "texts": _hash_texts(texts)}
        self.entries[index] = entry
        self.manifest["ranges"] = None if ranges is None else ranges.tolist()
        _write_json(path.with_suffix(".json"), {**entry, "ranges": self.manifest["ranges"]})

    def finish(self, count: int) -> None:
        """List all `count` shards in the manifest after the whole input was encoded. Only rank 0 calls this.

        Raises:
            ConfigError: the folder contains more than `count` shards.
            OutputError: a shard was removed after it was written.
        """
        self._read_entries()
        if len(self.entries) > count:
            message = f"--output {self.folder}: the folder contains embeddings of more texts than the input contains"
            raise ConfigError(message, FOLDER_HINT)
        shards = [self.entries[index] for index in range(count)]
        missing = [entry["file"] for entry in shards if not (self.folder / entry["file"]).is_file()]
        if missing:
            _write_json(self.folder / MANIFEST, self.manifest)  # it may have been removed too
            message = f"--output {self.folder}: {', '.join(missing)}: removed while the command ran"
            raise OutputError(message, "run the same command again without --overwrite; it encodes the missing shards")
        rows = sum(entry["rows"] for entry in shards)
        self.manifest |= {"shards": shards, "rows": rows, "complete": True}
        _write_json(self.folder / MANIFEST, self.manifest)
        for path in self._entry_files():
            path.unlink()


def vector_files(output: Path) -> list[Path]:
    """Return the .npy files of an output of `encode`: the file itself, or the shards of a folder."""
    return sorted(output.glob("shard-*.npy")) if output.is_dir() else [output]


def _is_entry(entry: Any, index: int) -> bool:
    """Return whether a value describes shard `index`; a path to another file is not accepted."""
    types = {"file": str, "rows": int, "sha256": str, "texts": str}
    is_complete = isinstance(entry, dict) and all(isinstance(entry.get(name), kind) for name, kind in types.items())
    return is_complete and entry["file"] == f"shard-{index:05d}.npy"


def _are_ranges(value: Any) -> bool:
    """Return whether a value is None, or two lists of numbers of the same length."""
    if value is None:
        return True
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(part, list) for part in value):
        return False
    return len(value[0]) == len(value[1]) and all(isinstance(number, float) for part in value for number in part)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False))


def _hash_texts(texts: Sequence[str]) -> str:
    """Return a digest of the texts and their boundaries, which are marked by a byte that does not occur in UTF-8."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8"))
        digest.update(b"\xff")
    return digest.hexdigest()
