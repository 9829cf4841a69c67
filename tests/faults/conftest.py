"""Fixtures of the fault tests. EMBEDCTL_FAULTS is the number of tries per test; `.ci/run --full` raises it."""

from __future__ import annotations

import importlib.util
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load_module(name: str) -> ModuleType:
    """Load a module of this folder."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tries() -> int:
    """Return the number of tries per test."""
    return int(os.environ.get("EMBEDCTL_FAULTS", "2"))


@pytest.fixture(scope="session")
def marker_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that the code of a foreign model writes."""
    return tmp_path_factory.mktemp("marker") / "marker"


@pytest.fixture
def marker(marker_file: Path) -> Path:
    """Return the file that the code of a foreign model writes; it does not exist."""
    marker_file.unlink(missing_ok=True)
    return marker_file


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, marker_file: Path) -> Iterator[Any]:
    """Return a server process that runs command lines."""
    environment = {
        "EMBEDCTL_TEST_MARKER": str(marker_file),
        "EMBEDCTL_CACHE": str(tmp_path_factory.mktemp("cache")),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with load_module("forked").Server(environment) as running:
        yield running


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> dict[str, str]:
    """Return the paths of a model, texts, other texts and rows."""
    folder = tmp_path_factory.mktemp("inputs")
    draw = random.Random(0)
    words = [
        "river",
        "stone",
        "cloud",
        "engine",
        "market",
        "theory",
        "castle",
        "signal",
        "harbor",
        "violin",
        "alpha",
        "beta",
        "gamma",
        "delta",
    ]
    sentences = [" ".join(draw.choices(words, k=12)) + f" {number}" for number in range(600)]
    rows = [{"query": f"where is {text}", "pos": [text]} for text in sentences[:80]]
    (folder / "texts.txt").write_text("\n".join(sentences))
    (folder / "other.txt").write_text("\n".join(reversed(sentences)))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = ("texts.txt", "other.txt", "rows.jsonl")
    return {"model": tiny_model} | {name.partition(".")[0]: str(folder / name) for name in names}


COMMANDS = (
    "encode to a file",
    "encode to shards",
    "encode with an index",
    "encode shards with an index",
    "mine",
    "mine with the cache",
)


@pytest.fixture(params=COMMANDS)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of one of the command lines; a test with this fixture runs with each of them."""
    return str(request.param)


@pytest.fixture(scope="session")
def commands(inputs: dict[str, str]) -> dict[str, list[str]]:
    """Return the command lines whose faults are tested; they write to the working folder."""
    encode = ["encode", "--ckpt", inputs["model"], "-i", inputs["texts"], "--device", "cpu"]
    mine = ["mine-negatives", "--model", inputs["model"], "--dataset", inputs["rows"], "--device", "cpu"]
    return {
        "encode to a file": [*encode, "-o", "v.jsonl"],
        "encode to shards": [*encode, "-o", "v/", "--shard-rows", "50"],
        "encode with an index": [*encode, "-o", "v.npy", "--index", "flat"],
        "encode shards with an index": [*encode, "-o", "v/", "--shard-rows", "100", "--index", "hnsw"],
        "mine": [*mine, "-o", "m.jsonl", "--range", "0-30", "--neg-nums", "5", "--report", "m.html", "--no-cache"],
        "mine with the cache": [*mine, "-o", "m.jsonl", "--range", "0-30", "--neg-nums", "5"],
    }


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Return a function that returns the content of all files under a folder, by relative path."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def uninterrupted_training(inputs: dict[str, str], server: Any) -> Callable[[int, Path], tuple[list[object], bytes]]:
    """Return a function that trains for some epochs in a folder, and returns the command line and the weights."""

    def train(epochs: int, folder: Path) -> tuple[list[object], bytes]:
        command = ["train", "--model", inputs["model"], "--dataset", inputs["rows"], "--cpu", "--batch-size", 16]
        command += ["--epochs", epochs, "--save-steps", 2, "--neg-nums", 0]
        ended = server.run(*command, "-o", "uninterrupted", folder=folder)
        assert ended.code == 0, ended.stderr
        return command, (folder / "uninterrupted/model.safetensors").read_bytes()

    return train
