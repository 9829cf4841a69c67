"""Generated files of every kind that a command reads: they are read or refused with a message, never a bug.

EMBEDCTL_EXAMPLES is the number of examples per test.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedctl.config import TrainConfig, load
from embedctl.data.rows import Row, find_errors, read_rows
from embedctl.errors import EmbedctlError
from embedctl.evaluation.collections import Collection
from embedctl.mining.run import collect_data
from embedctl.model.trust import check_model_files
from embedctl.reading.readers import read_texts
from embedctl.run_folder import LIST_FILE, RunFolder
from embedctl.search.index_folder import TextIndex
from embedctl.storage.shards import MANIFEST, ShardFolder
from embedctl.training.checkpoint import MANIFEST_FILE, find_damage
from embedctl.training.monitor import remove_metrics_after

many = settings(
    max_examples=int(os.environ.get("EMBEDCTL_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NUMBERS = st.integers() | st.integers(10**300, 10**400) | st.floats()
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=20)
ROW_KEYS = st.sampled_from(["query", "pos", "neg", "scores", "pos_scores", "neg_scores", "prompt", "text", "_id"])
SHARD_KEYS = st.sampled_from(["ranges", "rows", "shards", "complete", "model", "file", "texts", "sha256"])
INDEX_KEYS = st.sampled_from(["model", "name", "dim", "precision", "max_len", "rows", "files", "bytes", "sha256"])
MODEL_KEYS = st.sampled_from(["idx", "name", "path", "type", "weight_map", "metadata"])


def values(keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Return JSON values whose objects have some of the given keys."""
    return st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=5), inner, max_size=6),
        max_leaves=12,
    )


def dump(value: Any) -> str:
    """Return a value as JSON; long integers, NaN and infinity are kept."""
    return json.dumps(value, ensure_ascii=False)


def files(keys: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Return files: lines of JSON values, sometimes cut or mixed with other bytes."""
    lines = st.lists(values(keys).map(dump), min_size=1, max_size=5).map(
        lambda parts: "\n".join(parts).encode("utf-8", "surrogatepass")
    )
    cut = st.tuples(lines, st.integers(0, 60)).map(lambda pair: pair[0][: len(pair[0]) - pair[1]])
    return lines | cut | st.binary(max_size=80) | st.tuples(cut, st.binary(max_size=9)).map(b"".join)


@many
@given(value=values(ROW_KEYS))
def test_a_row_is_checked_without_an_exception(value):
    for problem in find_errors(value):
        assert problem.message


@many
@given(content=files(ROW_KEYS), suffix=st.sampled_from([".jsonl", ".json", ".csv", ".txt", ".gz", ".parquet"]))
def test_rows_and_texts_are_read_or_refused_with_an_embedctl_error(content, suffix, tmp_path):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with suppress(EmbedctlError):
        rows = list(read_rows(str(path)))
        assert all(isinstance(row, Row) for row in rows)
        collect_data(iter(rows), None, keep_negatives=True)
    with suppress(EmbedctlError):
        assert all(isinstance(text, str) for text in read_texts(str(path), "text"))


@many
@given(
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | values(st.text(max_size=8)).map(lambda value: dump(value).encode())
)
def test_configurations_are_read_or_refused_with_an_embedctl_error(content, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with suppress(EmbedctlError):
        load(TrainConfig, str(path))


IDS = st.sampled_from(["q1", "d1", "none", "", "0", "1.5", "\x00", "1e400", "9" * 400])


@many
@given(lines=st.lists(st.lists(IDS, max_size=5).map("\t".join), max_size=6), rest=st.binary(max_size=20))
def test_qrels_are_read_or_refused_with_an_embedctl_error(lines, rest, tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "river"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "where"}\n')
    (tmp_path / "qrels.tsv").write_bytes("\n".join(lines).encode() + rest)
    names = [str(tmp_path / name) for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv")]
    with suppress(EmbedctlError):
        assert Collection.from_beir(*names).qrels


SETTINGS = {"model": "m", "shard_rows": 2}


@many
@given(manifest=files(SHARD_KEYS), entry=files(SHARD_KEYS))
def test_manifests_of_shards_are_read_or_refused_with_an_embedctl_error(manifest, entry, tmp_path):
    folder = tmp_path / "v"
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_bytes(manifest)
    (folder / "shard-00000.json").write_bytes(entry)
    with suppress(EmbedctlError):
        shards = ShardFolder(folder, SETTINGS, overwrite=False)
        shards.is_complete(0, ["a", "b"])


@many
@given(manifest=files(INDEX_KEYS))
def test_manifests_of_an_index_are_read_or_refused_with_an_embedctl_error(manifest, tmp_path):
    folder = tmp_path / "v.npy.index"
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_bytes(manifest)
    with suppress(EmbedctlError):
        TextIndex.open(str(tmp_path / "v.npy"))


@many
@given(content=files(MODEL_KEYS), name=st.sampled_from(["modules.json", "model.safetensors.index.json"]))
def test_metadata_of_a_model_is_read_or_refused_with_an_embedctl_error(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with suppress(EmbedctlError):
        check_model_files(str(tmp_path), trust_remote_code=False)
    (tmp_path / name).unlink()


@many
@given(content=files(st.sampled_from(["step", "eval", "position.json"])))
def test_damaged_files_of_a_run_are_found_repaired_or_ignored(content, tmp_path):
    for name in (LIST_FILE, MANIFEST_FILE, "metrics.jsonl"):
        (tmp_path / name).write_bytes(content)
    assert find_damage(tmp_path)
    remove_metrics_after(tmp_path / "metrics.jsonl", 3)
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        assert json.loads(line)["step"] <= 3
    assert all(isinstance(name, str) for name in RunFolder(tmp_path).run_files())


@pytest.mark.parametrize("depth", [100, 1000, 100_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_nesting_is_an_error_of_its_line(depth, brackets, tmp_path):
    opened = "[" if brackets == "[]" else '{"query":'
    path = tmp_path / "rows.jsonl"
    path.write_text('{"query": "a", "pos": ["b"]}\n' + opened * depth + "1" + brackets[1] * depth + "\n")
    with pytest.raises(EmbedctlError, match=r"rows\.jsonl:2: "):
        list(read_rows(str(path)))


def test_very_long_lines_and_texts_are_read(tmp_path: Path):
    long = "river " * 1_700_000  # a line of 10 MB
    (tmp_path / "rows.jsonl").write_text(json.dumps({"query": "a", "pos": [long]}) + "\n")
    assert [row.pos for row in read_rows(str(tmp_path / "rows.jsonl"))] == [(long,)]
    (tmp_path / "texts.txt").write_text(f"{long}\nb\n")
    assert [len(text) for text in read_texts(str(tmp_path / "texts.txt"), "text")] == [len(long), 1]
