"""Control characters in texts, keys, file names and model names are shown as escapes by every command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedctl.console import CONTROLS

# Sets the title of the terminal, clears the screen, moves the cursor, C1 forms of the same, right-to-left override,
# markup of rich, HTML.
HOSTILE = "a\x1b]0;title\x07\x1b[2J\r\x08\x9b2J\x9d0;t\x9c\u202ebidi\u2066 [red]x[/red] [/] <script>alert(1)</script> b"
FILE = HOSTILE.replace("/", "|")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with hostile names, whose files contain hostile texts."""
    rows = [{"query": f"{HOSTILE} {n}", "pos": [f"river {HOSTILE} {n}"], "neg": [HOSTILE]} for n in range(12)]
    write(tmp_path / f"{FILE}.jsonl", [json.dumps(row) for row in rows])
    write(tmp_path / "rows.jsonl", [json.dumps(row) for row in rows])
    faulty: list[Any] = [
        {"query": 1, "pos": [HOSTILE], HOSTILE: 1},
        {"query": HOSTILE, "pos": [HOSTILE], "neg": [HOSTILE], "scores": [HOSTILE]},
        HOSTILE,
    ]
    write(tmp_path / "faulty.jsonl", [*(json.dumps(row) for row in faulty), HOSTILE, json.dumps(HOSTILE)[:-3]])
    write(tmp_path / "texts.txt", [HOSTILE.replace("\r", "")] * 3)
    write(tmp_path / "config.yaml", [json.dumps({HOSTILE: 1, "optim": {"lr": HOSTILE}})])
    write(tmp_path / "qrels.tsv", [f"{HOSTILE}\t{HOSTILE}\t1"])
    write(tmp_path / "corpus.jsonl", [json.dumps({"_id": HOSTILE, "text": HOSTILE})])
    write(tmp_path / "queries.jsonl", [json.dumps({"_id": HOSTILE + "2", "text": HOSTILE})])
    return tmp_path


def write(path: Path, lines: list[str]) -> None:
    path.write_bytes("".join(line + "\n" for line in lines).encode())


MINE = ["--range", "0-9", "--neg-nums", "1", "--no-cache", "--overwrite"]
COMMANDS: dict[str, list[str]] = {
    "validate": ["validate-data", f"{FILE}.jsonl"],
    "validate with errors": ["validate-data", "faulty.jsonl"],
    "validate with errors as JSON": ["validate-data", "faulty.jsonl", "--json"],
    "validate with a hostile name": ["validate-data", f"{FILE}.none"],
    "mine": ["mine-negatives", "--model", "MODEL", "--dataset", f"{FILE}.jsonl", "-o", f"{FILE}.mined", *MINE],
    "mine with a hostile model": ["mine-negatives", "--model", f"./{FILE}", "--dataset", "rows.jsonl", *MINE],
    "encode": ["encode", "--ckpt", "MODEL", "-i", "texts.txt", "-o", f"{FILE}.npy", "--index", "flat"],
    "encode with a hostile prompt": ["encode", "--ckpt", "MODEL", "-i", "texts.txt", "--prompt-name", HOSTILE],
    "encode with a hostile output": ["encode", "--ckpt", "MODEL", "-i", "texts.txt", "-o", f"{FILE}.bin"],
    "eval": ["eval", "--ckpt", "MODEL", "--dataset", f"{FILE}.jsonl"],
    "eval of a collection": [
        "eval",
        "--ckpt",
        "MODEL",
        "--corpus",
        "corpus.jsonl",
        "--queries",
        "queries.jsonl",
        "--qrels",
        "qrels.tsv",
    ],
    "eval with a hostile metric": ["eval", "--ckpt", "MODEL", "--dataset", "rows.jsonl", "--metrics", HOSTILE],
    "search in nothing": ["search", "--index", FILE, "river"],
    "train with a hostile configuration": ["train", "--config", "config.yaml"],
    "train with a hostile dataset": ["train", "--dataset", "faulty.jsonl", "-o", FILE],
    "train": ["train", "--model", "MODEL", "--dataset", f"{FILE}.jsonl", "--max-steps", "1", "--cpu", "-o", FILE],
    "unknown option": ["train", f"--{HOSTILE}"],
    "unknown command": [HOSTILE],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_control_character_reaches_the_terminal(name, folder, inputs, server):
    arguments = [inputs["model"] if argument == "MODEL" else argument for argument in COMMANDS[name]]
    ended = server.run(*arguments, folder=folder)
    assert "Traceback" not in ended.stderr
    assert ended.code in (0, 1, 2), ended.stderr
    for stream in (ended.stdout, ended.stderr):
        assert CONTROLS.search(stream) is None, ascii(stream)
    if "--json" in arguments:
        json.loads(ended.stdout)


def test_results_of_a_search_are_shown_as_escapes_and_returned_unchanged_as_json(folder, inputs, server):
    encode = ["encode", "--ckpt", inputs["model"], "-i", "corpus.jsonl", "-o", "v.npy", "--index", "flat"]
    assert server.run(*encode, folder=folder).code == 0
    shown = server.run("search", "--index", "v.npy", HOSTILE, folder=folder)
    assert shown.code == 0, shown.stderr
    assert CONTROLS.search(shown.stdout + shown.stderr) is None
    assert r"\x1b]0;title\x07" in (shown.stdout + shown.stderr).replace("\n", "")
    as_json = server.run("search", "--index", "v.npy", HOSTILE, "--json", folder=folder)
    assert CONTROLS.search(as_json.stdout) is None
    assert HOSTILE in find_texts(json.loads(as_json.stdout))


def find_texts(value: Any) -> list[str]:
    """Return all strings in a JSON value."""
    if isinstance(value, dict):
        return [text for part in value.values() for text in find_texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in find_texts(part)]
    return [value] if isinstance(value, str) else []


def test_the_html_report_escapes_texts(folder, inputs, server):
    mine = ["mine-negatives", "--model", inputs["model"], "--dataset", "rows.jsonl", "-o", "m.jsonl", *MINE]
    ended = server.run(*mine, "--report", "report.html", folder=folder)
    assert ended.code == 0, ended.stderr
    page = (folder / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
