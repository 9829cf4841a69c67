"""A folder of vectors in numbered .npy files, which a killed run continues to the same bytes.

`manifest.json` says how the vectors were made and lists the whole files: rows, a hash of the file, a hash of its texts.
A run goes through its input from the start; what the folder holds already is compared, not encoded again.
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
from embedctl.errors import ConfigError
from embedctl.retrieval.sinks import NpySink

MANIFEST = "manifest.json"
ANOTHER = "choose another folder, or begin anew with --overwrite"


class Shards:
    """The folder and its manifest.

    Args:
        folder: created if need be.
        recipe: what the vectors follow from, beside the texts; a folder of another recipe is not continued.
        overwrite: begin anew, among whatever else is there.

    Raises:
        ConfigError: the folder was made in another way, or holds something else.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any], *, overwrite: bool) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.document: dict[str, Any] = {**recipe, "ranges": None, "rows": 0, "shards": [], "complete": False}
        if overwrite:
            for old in folder.glob("shard-*.npy"):
                old.unlink()
        elif (folder / MANIFEST).exists():
            self.document = self._continued(recipe)
        elif any(folder.iterdir()):
            raise ConfigError(f"--output {folder}: holds files that are no shards", ANOTHER)
        self._save()

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
            raise ConfigError(
                f"--output {self.folder}: holds vectors made with another {', '.join(changed)}",
                ANOTHER,
            )
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
        if place >= len(self.document["shards"]):
            return False
        entry = self.document["shards"][place]
        if entry["texts"] != _hash_texts(texts):
            raise ConfigError(
                f"--output {self.folder}: {entry['file']} was made of other texts than the input's", ANOTHER
            )
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
        with NpySink(path) as sink:
            sink.write(texts, vectors)
        entry = {"file": path.name, "rows": len(texts), "sha256": _hash_file(path), "texts": _hash_texts(texts)}
        self.document["shards"][place : place + 1] = [entry]
        self.document["rows"] = sum(shard["rows"] for shard in self.document["shards"])
        self.document["ranges"] = None if ranges is None else ranges.tolist()
        self._save()

    def complete(self, count: int) -> None:
        """Record that the input is at its end after `count` shards.

        Raises:
            ConfigError: the folder holds more shards than that.
        """
        if len(self.document["shards"]) > count:
            raise ConfigError(f"--output {self.folder}: was made of more texts than the input has", ANOTHER)
        self.document["complete"] = True
        self._save()

    def _save(self) -> None:
        temporary = self.folder / f".{MANIFEST}.tmp"
        temporary.write_text(json.dumps(self.document, indent=2, ensure_ascii=False), encoding="utf-8")
        temporary.replace(self.folder / MANIFEST)


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
