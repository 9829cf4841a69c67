"""A folder of vectors in numbered .npy files, which a killed run continues to the same bytes.

`manifest.json` says how the vectors were made and lists the files: rows, a hash of the file, a hash of its texts. Until
the input is at its end, each whole file has its entry in a .json file beside it, so that several ranks write at once. A
run goes through its input from the start; what the folder holds already is compared, not encoded again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedctl import console
from embedctl.distributed.ranks import from_main, is_main
from embedctl.errors import ConfigError
from embedctl.files import write_atomically
from embedctl.storage.writers import write_array

MANIFEST = "manifest.json"
ANOTHER = "choose another folder, or begin anew with --overwrite"


class Shards:
    """The folder and its manifest. With several ranks every rank opens it; rank 0 does so for all.

    Args:
        folder: created if need be.
        recipe: what the vectors follow from, beside the texts; a folder of another recipe is not continued.
        overwrite: begin anew, among whatever else is there.

    Raises:
        ConfigError: the folder was made in another way, or holds something else.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any], *, overwrite: bool) -> None:
        self.folder = folder
        self.document: dict[str, Any] = {**recipe, "ranges": None, "rows": 0, "shards": [], "complete": False}
        self.entries: dict[int, dict[str, Any]] = {}
        if is_main():
            self._open(recipe, overwrite=overwrite)
        self.document, self.entries = from_main((self.document, self.entries))

    def _open(self, recipe: dict[str, Any], *, overwrite: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for old in self.folder.glob("shard-*"):
                old.unlink()
        elif (self.folder / MANIFEST).exists():
            self.document = self._continued(recipe)
            self.entries = dict(enumerate(self.document["shards"]))
            self._take_in()
        elif any(self.folder.iterdir()):
            raise ConfigError(f"--output {self.folder}: holds files that are no shards", ANOTHER)
        _write(self.folder / MANIFEST, self.document)

    def _take_in(self) -> None:
        """Read the entries that no manifest lists yet."""
        for path in sorted(self.folder.glob("shard-*.json")):
            entry = json.loads(path.read_text(encoding="utf-8"))
            self.document["ranges"] = entry.pop("ranges")
            self.entries[int(path.stem.removeprefix("shard-"))] = entry

    def _continued(self, recipe: dict[str, Any]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            changed = [name for name, value in recipe.items() if found.get(name) != value]
            known = {"ranges", "rows", "shards", "complete"} <= found.keys()
        except (ValueError, AttributeError):
            changed, known = [], False
        if not known:
            raise ConfigError(f"{self.folder / MANIFEST}: is no manifest of shards", ANOTHER)
        if changed:
            raise ConfigError(f"--output {self.folder}: holds vectors made with another {', '.join(changed)}", ANOTHER)
        return found

    @property
    def ranges(self) -> NDArray[np.float32] | None:
        """(2, H) the least and greatest values between which int8 numbers stand; None for other types."""
        stored = self.document["ranges"]
        return None if stored is None else np.array(stored, dtype=np.float32)

    def holds(self, place: int, texts: Sequence[str]) -> bool:
        """Whether shard `place` is there already, whole and of these texts.

        Raises:
            ConfigError: it was made of other texts.
        """
        if place not in self.entries:
            return False
        entry = self.entries[place]
        if entry["texts"] != _hash_texts(texts):
            message = f"--output {self.folder}: {entry['file']} was made of other texts than the input's"
            raise ConfigError(message, ANOTHER)
        path = self.folder / entry["file"]
        if path.is_file() and _hash_file(path) == entry["sha256"]:
            return True
        console.warn(f"{path}: is missing or damaged; encoding its texts again")
        return False

    def write(
        self, place: int, texts: Sequence[str], vectors: NDArray[Any], ranges: NDArray[np.float32] | None = None
    ) -> None:
        """Write shard `place`: N texts, their vectors (N, H) as stored, and the ranges of int8."""
        path = self.folder / f"shard-{place:05d}.npy"
        write_array(path, vectors)
        entry = {"file": path.name, "rows": len(texts), "sha256": _hash_file(path), "texts": _hash_texts(texts)}
        self.entries[place] = entry
        self.document["ranges"] = None if ranges is None else ranges.tolist()
        _write(path.with_suffix(".json"), {**entry, "ranges": self.document["ranges"]})

    def complete(self, count: int) -> None:
        """List the files in the manifest once the input is at its end after `count` shards; the first rank does it.

        Raises:
            ConfigError: the folder holds more shards than that.
        """
        self._take_in()
        if len(self.entries) > count:
            raise ConfigError(f"--output {self.folder}: was made of more texts than the input has", ANOTHER)
        listed = [self.entries[place] for place in range(count)]
        rows = sum(entry["rows"] for entry in listed)
        self.document |= {"shards": listed, "rows": rows, "complete": True}
        _write(self.folder / MANIFEST, self.document)
        for path in self.folder.glob("shard-*.json"):
            path.unlink()


def _write(path: Path, document: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(document, indent=2, ensure_ascii=False))


def _hash_texts(texts: Sequence[str]) -> str:
    """A digest of texts and their borders: no UTF-8 holds the byte between them."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8"))
        digest.update(b"\xff")
    return digest.hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
