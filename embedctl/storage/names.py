"""Names of the files and folders that `encode` writes beside its output."""

from __future__ import annotations

from pathlib import Path

EMBEDDINGS, INDEX = "embeddings", "index of embeddings"  # contents of outputs: see `embedctl.outputs.Output`


def index_folder_for(output: Path) -> Path:
    """Return the path of the index folder for an output of `encode`."""
    return output.with_name(f"{output.name}.index")


def output_of_index(folder: Path) -> Path | None:
    """Return the path of the output that an index folder belongs to; None if the folder was renamed."""
    name = folder.name.removesuffix(".index")
    return folder.with_name(name) if name not in ("", folder.name) else None


def ranges_of(output: Path) -> str:
    """Return the content of the file of ranges; v.npy and v.jsonl have the same name for it."""
    return f"ranges of {output.name}"


def ranges_path(path: Path) -> Path:
    """Return the path of the file with the ranges (2, H) of a file of int8 vectors."""
    return path.with_name(f"{path.stem}.ranges.npy")
