"""Every command that a message prints can be copied to a shell, also if names contain spaces and quotes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import typer.main

import embedctl
from embedctl.cli import app
from embedctl.shell import embedctl_command

BIN = Path(sys.executable).parent
SOURCES = sorted(Path(embedctl.__file__).parent.rglob("*.py"))
QUOTED = re.compile(r"`((?:embedctl|iconv|python|tar) [^`]+)`")
ROWS, TEXTS, MODEL, RUN = "my rows & o'clock.jsonl", "my text's.txt", "the model's folder", "my run's folder"


@pytest.fixture
def folder(tmp_path: Path, tiny_model: str) -> Path:
    """A folder with rows, texts and a model, all with spaces and quotes in their names."""
    work = tmp_path / "it's a folder"
    work.mkdir()
    rows = ({"query": f"alpha {n}", "pos": [f"river {n}"], "neg": [f"stone {n}"]} for n in range(8))
    (work / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (work / TEXTS).write_text("river\nstone\n")
    shutil.copytree(tiny_model, work / MODEL)
    return work


def environment(folder: Path) -> dict[str, str]:
    variables = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "EMBEDCTL_CACHE": str(folder.parent / "cache")}
    source = str(Path(embedctl.__file__).parents[1])  # for commands in which Python does not run as `-m embedctl`
    return os.environ | variables | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": source}


def shell(command: str, folder: Path, code: int = 0) -> str:
    """Run a command in a shell, check its exit code, and return stdout and stderr."""
    outcome = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert outcome.returncode == code, (command, outcome.stdout, outcome.stderr)
    return outcome.stdout + outcome.stderr


def run(folder: Path, *words: object, code: int = 0) -> str:
    return shell(embedctl_command(*words), folder, code)


def quoted(output: str) -> str:
    """The only command in backquotes of an output."""
    [command] = QUOTED.findall(output)
    return str(command)


def following(output: str) -> str:
    """The command of the line that begins with `next:`."""
    [command] = re.findall(r"^next: (.+)$", output, re.MULTILINE)
    return str(command)


def test_the_commands_in_the_sources_and_their_options_exist():
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    found = 0
    for path in SOURCES:
        for line in re.findall(r"`embedctl ([a-z][^`\n{]*)", path.read_text(encoding="utf-8")):
            name, *words = line.replace("\\", "").split()
            options = {flag for parameter in commands[name].params for flag in parameter.opts} | {"--help"}
            assert {word for word in words if word.startswith("-")} <= options, (path, line)
            found += 1
    assert found > 20


def test_the_command_after_training_evaluates_the_model(folder):
    words = ["train", "--model", MODEL, "--dataset", ROWS, "--eval-dataset", ROWS, "--max-steps", 1, "--cpu", "-o", RUN]
    output = run(folder, *words)
    assert shlex.split(following(output)) == ["embedctl", "eval", "--ckpt", RUN]
    assert "8 queries" in shell(following(output), folder)
    card = (folder / RUN / "README.md").read_text()
    assert f'SentenceTransformer("{RUN}")' in card
    finished = quoted(run(folder, "train", "--resume", RUN, code=2))
    assert shlex.split(finished) == ["embedctl", "train", "--model", RUN, "--output-dir", "FOLDER"]


def test_the_commands_that_continue_a_run_are_equal_and_continue_it(folder):
    words = ["train", "--model", MODEL, "--dataset", ROWS, "--max-steps", 40, "--save-steps", 1, "--cpu", "-o", RUN]
    started = subprocess.Popen(
        [sys.executable, "-m", "embedctl", *map(str, words)],
        cwd=folder,
        env=environment(folder),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not list((folder / RUN).glob("states/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    started.send_signal(signal.SIGTERM)
    _, output = started.communicate()
    assert started.returncode == 143, output
    command = quoted(output)
    again = run(folder, *words, code=2)
    assert quoted(again) == command
    assert quoted(run(folder, "encode", "--model", RUN, "-i", TEXTS, code=2)) == command
    assert "training finished" in shell(command, folder)


def test_the_command_of_a_dry_run_trains_the_model(folder):
    words = ["train", "--model", MODEL, "--dataset", ROWS, "--max-steps", 1, "--cpu", "--dry-run", "-q", "-o", RUN]
    shell(run(folder, *words), folder)
    assert (folder / RUN / "modules.json").is_file()


def test_the_command_after_mining_trains_on_the_rows(folder):
    mine = ["mine-negatives", "--model", MODEL, "--dataset", ROWS, "--range", "0-3", "--neg-nums", 1, "-o"]
    output = run(folder, *mine, "mined o'rows.jsonl")
    expected = ["train", "--model", MODEL, "--dataset", "mined o'rows.jsonl", "--output-dir", "out"]
    assert shlex.split(following(output)) == ["embedctl", *expected]
    shell(following(output), folder)
    assert (folder / "out" / "modules.json").is_file()
    nothing = run(folder, *mine, "nothing.jsonl", "--max-score", "-1")
    assert "\nnext:" not in nothing


def test_the_command_after_encoding_searches_the_index(folder):
    output = run(folder, "encode", "--model", MODEL, "-i", TEXTS, "-o", "my vector's.npy", "--index", "flat")
    assert "river" in shell(quoted(output), folder)


def test_the_command_that_converts_a_file_to_utf8_gives_a_valid_file(folder):
    text = "我们在这里学习天气和音乐，他们都是中国的人。"
    (folder / "GBK's rows.jsonl").write_bytes(
        (json.dumps({"query": text, "pos": [text[:9]]}, ensure_ascii=False) + "\n").encode("gb18030")
    )
    shell(quoted(run(folder, "validate-data", "GBK's rows.jsonl", code=2)), folder)
    run(folder, "validate-data", "GBK's rows.utf8.jsonl")
    assert text in (folder / "GBK's rows.utf8.jsonl").read_text(encoding="utf-8")


def test_the_command_that_converts_weights_gives_a_model_that_is_loaded(folder):
    import torch
    from safetensors.torch import load_file

    weights = folder / MODEL / "model.safetensors"
    torch.save(load_file(weights), folder / MODEL / "pytorch_model.bin")
    weights.unlink()
    (folder / MODEL / "embedctl.json").unlink(missing_ok=True)
    encode = ["encode", "--model", MODEL, "-i", TEXTS, "-o", "v.npy"]
    shell(quoted(run(folder, *encode, code=2)), folder)
    run(folder, *encode)
    assert (folder / "v.npy").is_file()


def test_the_commands_about_invalid_rows_and_archives_name_the_file(folder):
    with (folder / ROWS).open("a") as rows:
        rows.write('{"query": "no positive"}\n')
    assert "pos: the key is missing" in shell(quoted(run(folder, "train", "--dataset", ROWS, code=2)), folder, code=1)
    with tarfile.open(folder / "my archive's.tar", "w") as archive:
        archive.add(folder / TEXTS, "unpacked.txt")
    shell(quoted(run(folder, "encode", "--model", MODEL, "-i", "my archive's.tar", code=2)), folder)
    assert (folder / "unpacked.txt").is_file()
