"""The folder OUTPUT.index/ that `encode --index` leaves and `search` reads.

index.faiss                  the vectors, row n of the input as id n
texts.jsonl, offsets.npy     the texts by row (textmap.py)
manifest.json                how the vectors were made, and by which model
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedctl.errors import ConfigError, ModelError
from embedctl.files import write_atomically
from embedctl.model.embedder import Embedder
from embedctl.search import faiss_index
from embedctl.search.exact import Vectors
from embedctl.search.faiss_index import Stored
from embedctl.search.vectors import unit
from embedctl.storage.quantization import ranges_beside
from embedctl.storage.shards import MANIFEST
from embedctl.storage.textmap import TextMap

FAISS = "index.faiss"
SAMPLE, DEPTH = 100, 10  # recall is measured for the 10 nearest of 100 of the index's own vectors


def index_beside(output: Path) -> Path:
    """The index folder of an output of encode."""
    return output.with_name(f"{output.name}.index")


def expect_replaceable(folder: Path) -> None:
    """Check that nothing but an older index stands where one will be written.

    Raises:
        ConfigError: something else does.
    """
    if folder.exists() and not (folder / FAISS).is_file():
        raise ConfigError(f"--index: {folder} is there and is no index", "move it away, or choose another --output")


def stored_in(output: Path) -> Stored:
    """The vectors of an output of encode: a .npy file or a folder of shards."""
    if output.is_dir():
        manifest = json.loads((output / MANIFEST).read_text(encoding="utf-8"))
        files = [output / entry["file"] for entry in manifest["shards"]]
        ranges = None if manifest["ranges"] is None else np.array(manifest["ranges"], dtype=np.float32)
    else:
        files = [output]
        beside = ranges_beside(output)
        ranges = np.load(beside) if beside.is_file() and np.load(output, mmap_mode="r").dtype == np.int8 else None
    return Stored([np.load(file, mmap_mode="r") for file in files], ranges)


def write_index(draft: Path, output: Path, kind: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Build the index of an output and write it with its manifest.

    Args:
        draft: the folder to write in; the texts are there already.
        output: of encode.
        kind: flat, hnsw or ivf.
        recipe: how the vectors were made.

    Returns:
        The manifest: the recipe, the kind, rows, and the recall measured if the search is approximate.
    """
    import faiss

    stored = stored_in(output)
    index = faiss_index.build(stored, kind)
    faiss.write_index(index, str(draft / FAISS))
    measured = 1.0 if kind == "flat" else faiss_index.measure_recall(index, stored, stored.sample(SAMPLE), DEPTH)
    manifest = {**recipe, "index": kind, "rows": len(stored), "recall": round(measured, 4)}
    write_atomically(draft / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False))
    return manifest


@dataclass(frozen=True)
class TextIndex:
    """An index folder to search in."""

    folder: Path  # OUTPUT.index/
    manifest: dict[str, Any]  # what `write_index` gave

    @classmethod
    def find(cls, path: str) -> TextIndex:
        """The index that `path` means: an index folder, or an output of encode that has one.

        Raises:
            ConfigError: there is no index.
        """
        named = Path(path)
        folder = named if (named / FAISS).is_file() else index_beside(named)
        try:
            manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if not {"model", "name", "dim", "precision", "max_len", "rows"} <= manifest.keys():
                raise ValueError
        except FileNotFoundError:
            hint = f"make one: embedctl encode --index flat -o {path}"
            raise ConfigError(f"--index {path}: there is no index (no {folder}/)", hint) from None
        except (ValueError, AttributeError):
            raise ConfigError(f"{folder / MANIFEST}: is no manifest of an index", "encode again with --index") from None
        return cls(folder, manifest)

    def load_model(self, named: str | None, *, device: str | None, trust_remote_code: bool) -> Embedder:
        """The model of the index.

        Args:
            named: where it is now; by default where it was when it made the index.
            device: as torch names it.
            trust_remote_code: whether code that comes with the model may run.

        Raises:
            ConfigError: the model's weights are not those that made the index.
            ModelError: it can't be loaded.
        """
        name, precision, max_len = named or self.manifest["name"], self.manifest["precision"], self.manifest["max_len"]
        try:
            embedder = Embedder.from_pretrained(
                name, device=device, dtype=precision, trust_remote_code=trust_remote_code, max_len=max_len
            )
        except ModelError as missing:
            if named is not None:
                raise
            message = f"the model that made the index can't be used: {missing.message}"
            raise ModelError(message, "name it with --ckpt") from missing
        if embedder.weights_hash() != self.manifest["model"]:
            raise ConfigError(
                f"--ckpt {name}: is not the model that made the index: other weights"
                + ("" if named else "; the folder has changed since"),
                f"encode the texts again with it and --index, or name the model that {self.manifest['name']} was",
            )
        return embedder

    def nearest(self, query_QH: Vectors, k: int) -> list[list[dict[str, Any]]]:
        """The k nearest texts of each query, descending: row, score (cosine) and text."""
        import faiss

        scores, rows = faiss_index.nearest(faiss.read_index(str(self.folder / FAISS)), unit(query_QH), k)
        texts = TextMap(self.folder)
        return [
            [
                {"row": int(row), "score": round(float(score), 6), "text": texts[row]}
                for score, row in zip(*hits, strict=True)
                if row >= 0
            ]
            for hits in zip(scores, rows, strict=True)
        ]
