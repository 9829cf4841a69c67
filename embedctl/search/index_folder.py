"""The folder OUTPUT.index/ that `encode --index` leaves and `search` reads.

index.faiss                  the vectors, row n of the input as id n
texts.jsonl, offsets.npy     the texts by row (textmap.py)
manifest.json                how the vectors were made, and by which model
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from embedctl.errors import ConfigError
from embedctl.search import faiss_index
from embedctl.search.faiss_index import Stored
from embedctl.storage.quantization import ranges_beside
from embedctl.storage.shards import MANIFEST

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
    stored = stored_in(output)
    index = faiss_index.build(stored, kind)
    faiss_index.save(index, draft / FAISS)
    measured = 1.0 if kind == "flat" else faiss_index.measure_recall(index, stored, stored.sample(SAMPLE), DEPTH)
    manifest = {**recipe, "index": kind, "rows": len(stored), "recall": round(measured, 4)}
    (draft / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False), encoding="utf-8")
    return manifest


def find_index(path: str) -> tuple[Path, dict[str, Any]]:
    """The index folder that `path` means, itself or the output it stands beside, and its manifest.

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
    return folder, manifest
