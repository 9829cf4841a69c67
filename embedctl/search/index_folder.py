"""The folder OUTPUT.index/ that `encode --index` writes and `search` reads.

index.faiss                  the vectors; row n of the input has id n
texts.jsonl, offsets.npy     the texts by row (textmap.py)
manifest.json                the model and the settings of the vectors, and their digest
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedctl.digests import find_change, find_damage, is_file_list, list_files
from embedctl.errors import ConfigError, ModelError, first_line
from embedctl.files import sync_tree, write_atomically
from embedctl.model.embedder import Embedder
from embedctl.model.similarity import COSINE, SIMILARITIES, Similarity
from embedctl.search import faiss_index
from embedctl.search.exact import Vectors
from embedctl.search.faiss_index import StoredVectors
from embedctl.storage.names import index_folder_for, output_of_index, ranges_path
from embedctl.storage.shards import MANIFEST, vector_files
from embedctl.storage.textmap import OFFSETS, TEXTS, TextMap

FAISS = "index.faiss"
ENCODE = "`embedctl encode --model MODEL -i TEXTS -o OUTPUT.npy --index flat`"
WRITE_AGAIN = f"write the index again with {ENCODE}"  # a hint
RECALL_QUERIES, RECALL_K = 100, 10  # recall@10 is measured with 100 vectors of the index as queries


def check_replaceable(folder: Path) -> None:
    """Check that an index folder can be written: the path does not exist or is an older index.

    Raises:
        ConfigError: the path exists and is not an index.
    """
    if folder.exists() and not (folder / FAISS).is_file():
        hint = "move or delete it, or give another path with --output"
        raise ConfigError(f"--index: {folder} exists and is not an index", hint)


def load_stored_vectors(output: Path, similarity: Similarity) -> StoredVectors:
    """Return the vectors of an output of `encode`, a .npy file or a folder of shards, and how they are compared."""
    if output.is_dir():
        manifest = json.loads((output / MANIFEST).read_text(encoding="utf-8"))
        files = [output / entry["file"] for entry in manifest["shards"]]
        ranges = None if manifest["ranges"] is None else np.array(manifest["ranges"], dtype=np.float32)
    else:
        files = [output]
        path = ranges_path(output)
        ranges = np.load(path) if path.is_file() and np.load(output, mmap_mode="r").dtype == np.int8 else None
    return StoredVectors([np.load(file, mmap_mode="r") for file in files], ranges, similarity=similarity)


def write_index(
    folder: Path, output: Path, kind: str, similarity: Similarity, settings: dict[str, Any]
) -> dict[str, Any]:
    """Build the index of an output of `encode` and write it with its manifest to a folder that contains the texts.

    Returns:
        The manifest: `settings` (what the vectors depend on), name of the similarity function, size and digest of each
        file of vectors, kind, number of rows, measured recall (1.0 for flat), and size and digest of each file.
    """
    import faiss

    stored = load_stored_vectors(output, similarity)
    index = faiss_index.build_index(stored, kind)
    faiss.write_index(index, str(folder / FAISS))
    queries = stored.sample(RECALL_QUERIES)
    recall = 1.0 if kind == "flat" else faiss_index.measure_recall(index, stored, queries, RECALL_K)
    files = vector_files(output)
    vectors = list_files(files[0].parent, (file.name for file in files))
    manifest = {**settings, "similarity": similarity.name, "vectors": vectors, "index": kind}
    manifest |= {"rows": len(stored), "recall": round(recall, 4)}
    sync_tree(folder)
    manifest["files"] = list_files(folder, (FAISS, TEXTS, OFFSETS))
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False))
    return manifest


def _is_manifest(value: Any) -> bool:
    """Return whether a JSON value is the manifest of an index."""
    types = {"model": str, "name": str, "dim": int, "precision": str, "max_len": int | None, "rows": int}
    if not isinstance(value, dict) or not all(isinstance(value.get(key), kind) for key, kind in types.items()):
        return False
    files = value.get("files", {})
    is_similarity = value.get("similarity", COSINE.name) in SIMILARITIES
    is_precision = value["precision"] in ("float32", "bfloat16", "float16")
    return is_similarity and is_precision and is_file_list(files) and files.keys() <= {FAISS, TEXTS, OFFSETS}


def _check_vectors(folder: Path, manifest: dict[str, Any]) -> None:
    """Raise a ConfigError if the output beside an index has other vectors than those that the index was made from."""
    output, listed = output_of_index(folder), manifest.get("vectors")
    if not is_file_list(listed) or output is None or not output.exists():  # of an earlier version, or moved
        return
    files = {file.name: file for file in vector_files(output)}
    if files.keys() != listed.keys() or any(find_change(file, listed[name]) for name, file in files.items()):
        message = f"{folder}: the index does not belong to {output}, which was changed after the index was written"
        raise ConfigError(message, WRITE_AGAIN)


@dataclass(frozen=True)
class TextIndex:
    """An index folder that can be searched."""

    folder: Path  # OUTPUT.index/
    manifest: dict[str, Any]  # the result of `write_index`

    @classmethod
    def open(cls, path: str) -> TextIndex:
        """Open an index folder, or the index folder of an output of `encode`.

        Raises:
            ConfigError: there is no index, one of its files is damaged, or the output was written again after it.
        """
        given = Path(path)
        folder = given if (given / MANIFEST).is_file() and (given / OFFSETS).is_file() else index_folder_for(given)
        try:
            manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if not _is_manifest(manifest):
                raise ValueError
        except FileNotFoundError:
            hint = f"write one with {ENCODE}, and give it with `--index OUTPUT.npy`"
            raise ConfigError(f"--index {path}: there is no index; {folder / MANIFEST} does not exist", hint) from None
        except (ValueError, RecursionError):
            message = f"{folder / MANIFEST}: the file is not a manifest of an index"
            raise ConfigError(message, WRITE_AGAIN) from None
        damage = find_damage(folder, manifest.get("files", {}))  # an index of an earlier version lists no files
        if damage:
            raise ConfigError(f"{folder}: the index is damaged: {damage}", WRITE_AGAIN)
        _check_vectors(folder, manifest)
        return cls(folder, manifest)

    def _texts(self) -> TextMap:
        """Open the texts.

        Raises:
            ConfigError: the files are damaged or do not belong to this index.
        """
        try:
            texts = TextMap(self.folder)
            if len(texts) == self.manifest["rows"] and texts.size == int(texts.offsets[-1]):
                return texts
        except (OSError, ValueError, IndexError):
            pass
        raise ConfigError(f"{self.folder}: the texts of the index are damaged", WRITE_AGAIN) from None

    def _read_index(self) -> Any:
        """Read index.faiss.

        Raises:
            ConfigError: the file is damaged or does not belong to this index.
        """
        import faiss

        path = self.folder / FAISS
        try:
            index = faiss.read_index(str(path))
        except (RuntimeError, MemoryError) as cause:
            raise ConfigError(f"{path}: the index cannot be read: {first_line(cause)}", WRITE_AGAIN) from cause
        if index.ntotal != self.manifest["rows"] or index.d != self.manifest["dim"]:
            expected = f"{self.manifest['rows']:,} embeddings with {self.manifest['dim']} dimensions"
            raise ConfigError(f"{path}: the file does not contain {expected}, as {MANIFEST} states", WRITE_AGAIN)
        return index

    def load_model(self, model: str | None, *, device: str | None, trust_remote_code: bool) -> Embedder:
        """Load the model of the index: `model` (folder or Hugging Face Hub name), or the one stored in the manifest.

        Raises:
            ConfigError: the weights of the model differ from those of the model that encoded the texts of the index.
            ModelError: the model cannot be loaded.
        """
        name, precision, max_len = model or self.manifest["name"], self.manifest["precision"], self.manifest["max_len"]
        try:
            embedder = Embedder.from_pretrained(
                name, device=device, dtype=precision, trust_remote_code=trust_remote_code, max_len=max_len
            )
        except ModelError as error:
            if model is not None:
                raise
            message = f"the model that encoded the texts of the index cannot be loaded: {error.message}"
            raise ModelError(message, "give the folder or Hugging Face Hub name of this model with --model") from error
        if embedder.weights_hash() != self.manifest["model"]:
            message, original = f"{name}: the weights have changed since the index was written", "the original model"
            if model:
                message = (
                    f"--model {name}: the weights differ from those of the model that encoded the texts of the index"
                )
                original = f"that model (its name was {self.manifest['name']})"
            hint = f"give {original} with --model, or {WRITE_AGAIN}"
            raise ConfigError(message, hint)
        if embedder.similarity is not self.similarity:
            message = f"{self.folder}: the index compares embeddings by {self.similarity.name}, but the model {name} "
            raise ConfigError(f"{message}states the similarity function {embedder.similarity.name}", WRITE_AGAIN)
        return embedder

    @property
    def similarity(self) -> Similarity:
        """The similarity function of the index; an index of an earlier version states none and uses the cosine."""
        return SIMILARITIES[self.manifest.get("similarity", COSINE.name)]

    def search(self, query_QH: Vectors, k: int) -> list[list[dict[str, Any]]]:
        """Return the k nearest texts of each query in descending order: row, score and text."""
        similarity = self.similarity
        scores, rows = faiss_index.search_index(self._read_index(), similarity.prepare(query_QH), k, similarity)
        texts = self._texts()
        return [
            [
                {"row": int(row), "score": round(float(score), 6), "text": texts[row]}
                for score, row in zip(*results, strict=True)
                if row >= 0
            ]
            for results in zip(scores, rows, strict=True)
        ]
