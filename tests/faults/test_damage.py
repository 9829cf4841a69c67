"""Damage of every file that a command left: the next command names it, or gives the same result as without damage."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

DAMAGE: dict[str, Callable[[bytes, bytes], bytes]] = {
    "cut": lambda content, _other: content[: len(content) // 2],
    "empty": lambda _content, _other: b"",
    "zeroed": lambda content, _other: bytes(len(content)),
    "zeroed after the header": lambda content, _other: content[:128] + bytes(max(0, len(content) - 128)),
    "swapped": lambda _content, other: other,
}


def files_of(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def damages(folder: Path, tries: int, seed: str) -> list[tuple[Path, str]]:
    """Return files of a folder and kinds of damage: all of them, or some for a small number of tries."""
    all_kinds = [(file, kind) for file in files_of(folder) for kind in DAMAGE]
    return all_kinds if tries > 20 else random.Random(seed).sample(all_kinds, min(4, len(all_kinds)))


def damage(folder: Path, file: Path, kind: str, other: Path) -> None:
    """Replace the content of a file; `other` is the same folder of another run."""
    path = folder / file
    replacement = (other / file).read_bytes() if (other / file).is_file() else b"other"
    path.write_bytes(DAMAGE[kind](path.read_bytes(), replacement))


def test_a_damaged_index_is_never_searched(commands, inputs, server, tries, tmp_path):
    for folder, texts in (("undamaged", inputs["texts"]), ("other", inputs["other"])):
        (tmp_path / folder).mkdir()
        encode = [texts if value == inputs["texts"] else value for value in commands["encode with an index"]]
        assert server.run(*encode, folder=tmp_path / folder).code == 0
    search = ["search", "--index", "v.npy", "river stone", "--json", "--device", "cpu"]
    expected = server.run(*search, folder=tmp_path / "undamaged").stdout
    assert json.loads(expected)
    index = tmp_path / "undamaged/v.npy.index"
    for file, kind in damages(index, tries, "index"):
        shutil.copytree(tmp_path / "undamaged", tmp_path / "damaged")
        damage(tmp_path / "damaged/v.npy.index", file, kind, tmp_path / "other/v.npy.index")
        ended = server.run(*search, folder=tmp_path / "damaged")
        assert "Traceback" not in ended.stderr, f"{file} {kind}"
        assert ended.code == 2 or ended.stdout == expected, f"{file} {kind}: {ended.stderr}"
        shutil.rmtree(tmp_path / "damaged")


def test_damaged_shards_are_encoded_again_or_refused(commands, inputs, server, tries, tmp_path):
    encode = commands["encode to shards"]
    for folder, texts in (("undamaged", inputs["texts"]), ("other", inputs["other"])):
        (tmp_path / folder).mkdir()
        changed = [texts if value == inputs["texts"] else value for value in encode]
        assert server.run(*changed, folder=tmp_path / folder).code == 0
    expected = {file: (tmp_path / "undamaged/v" / file).read_bytes() for file in files_of(tmp_path / "undamaged/v")}
    for file, kind in damages(tmp_path / "undamaged/v", tries, "shards"):
        shutil.copytree(tmp_path / "undamaged", tmp_path / "damaged")
        damage(tmp_path / "damaged/v", file, kind, tmp_path / "other/v")
        ended = server.run(*encode, folder=tmp_path / "damaged")
        assert "Traceback" not in ended.stderr, f"{file} {kind}"
        found = {name: (tmp_path / "damaged/v" / name).read_bytes() for name in files_of(tmp_path / "damaged/v")}
        assert ended.code == 2 or found == expected, f"{file} {kind}: {ended.stderr}"
        shutil.rmtree(tmp_path / "damaged")


def test_damaged_cached_embeddings_are_computed_again(commands, server, tries, tmp_path, monkeypatch):
    """The cache of the server process is damaged; other tests find new entries in it."""
    expected_folder = tmp_path / "expected"
    expected_folder.mkdir()
    mine = commands["mine with the cache"]
    first = server.run(*mine, folder=expected_folder)
    assert first.code == 0, first.stderr
    expected = (expected_folder / "m.jsonl").read_bytes()
    cache = Path(server.environment["EMBEDCTL_CACHE"])
    vectors = sorted((cache / "vectors").glob("*"))
    assert vectors
    other = np.zeros((3, 7), dtype=np.float32).tobytes()
    for number, kind in enumerate(DAMAGE):
        for path in vectors:
            if path.exists():
                path.write_bytes(DAMAGE[kind](path.read_bytes(), other))
        (tmp_path / str(number)).mkdir()
        ended = server.run(*mine, folder=tmp_path / str(number))
        assert ended.code == 0, f"{kind}: {ended.stderr}"
        assert (tmp_path / str(number) / "m.jsonl").read_bytes() == expected, kind


def test_a_damaged_run_is_refused_or_resumed_to_the_same_weights(uninterrupted_training, server, tries, tmp_path):
    train, weights = uninterrupted_training(4, tmp_path)
    for name, seed in (("stopped", 42), ("other", 1)):
        stopped = server.run(
            *train, "--seed", seed, "-o", name, folder=tmp_path, stop_when=f"{name}/states/step-00000004"
        )
        assert stopped.code == 143, stopped.stderr
    for file, kind in damages(tmp_path / "stopped", tries, "run")[: 2 if tries <= 20 else None]:
        shutil.copytree(tmp_path / "stopped", tmp_path / "damaged")
        damage(tmp_path / "damaged", file, kind, tmp_path / "other")
        ended = server.run("train", "--resume", "damaged", folder=tmp_path)
        shown = f"{file} {kind}: {ended.stderr}"
        assert "this is a bug" not in ended.stderr, shown
        assert "Traceback" not in ended.stderr, shown
        if ended.code == 0 and file.name != "config.yaml":  # the configuration of another run is another run
            assert (tmp_path / "damaged/model.safetensors").read_bytes() == weights, shown
        else:
            assert ended.code in (0, 2), shown
        shutil.rmtree(tmp_path / "damaged")
