"""Messages go to stderr, results go to stdout, and square brackets are not markup."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from embedctl import console


@pytest.fixture(autouse=True)
def reset_console() -> Iterator[None]:
    console.configure()
    yield
    console.configure()


def test_messages_go_to_stderr_and_results_to_stdout(capsys: pytest.CaptureFixture[str]):
    console.info("hello")
    console.panel("facts", {"rows": "12"})
    console.table("numbers", ["name", "value"], [["a", "1"]])
    console.result({"ok": True, "text": "学习"})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"ok": True, "text": "学习"}
    assert "学习" in out
    assert out.count("\n") == 1
    for text in ("hello", "rows", "12", "numbers", "value"):
        assert text in err


def test_quiet_prints_only_warnings_errors_and_results(capsys: pytest.CaptureFixture[str]):
    console.configure(quiet=True)
    console.info("message")
    console.panel("facts", {"message": "x"})
    console.table("numbers", ["message"], [["a"]])
    with console.progress("message", 3, "rows") as bar:
        bar.advance(3)
    console.warn("check this")
    console.error("it is wrong", "fix it")
    console.result({"n": 1})
    out, err = capsys.readouterr()
    assert "message" not in out + err
    assert out == '{"n": 1}\n'
    assert err.splitlines() == ["warning: check this", "error: it is wrong", "  -> fix it"]


def test_square_brackets_are_printed_unchanged(capsys: pytest.CaptureFixture[str]):
    console.info("pos[0] [bold]")
    console.panel("facts", {"extra": "sentence-transformers[onnx]"})
    console.table("t", ["field", "count"], [["neg[3]", "[red]"]])
    console.error("pos[1]: wrong", "see [docs]")
    err = capsys.readouterr().err
    for text in ("pos[0] [bold]", "sentence-transformers[onnx]", "neg[3]", "[red]", "pos[1]: wrong", "see [docs]"):
        assert text in err


def test_plural_agrees_with_the_count():
    assert console.plural(1, "negative") == "1 negative"
    assert console.plural(0, "negative") == "0 negatives"
    assert console.plural(2000, "query", "queries") == "2,000 queries"


def test_a_result_is_strict_json():
    with pytest.raises(ValueError, match="JSON"):
        console.result({"value": float("nan")})


def test_progress_without_a_terminal_prints_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    now = [100.0]
    monkeypatch.setattr("embedctl.console.time.monotonic", lambda: now[0])
    with console.progress("encoding", 1000, "texts") as bar:
        bar.advance(100)
        now[0] += console.PLAIN_LINE_SECONDS
        bar.advance(100)
        now[0] += 1
        bar.advance(100)
    lines = capsys.readouterr().err.splitlines()
    # 200 texts in 10 s are 20 per second, so the remaining 800 take 40 s
    assert lines == ["encoding: 200/1,000 texts (20 texts/s, 40 s left)"]


def test_characters_that_stdout_lacks_are_printed_as_escapes(monkeypatch: pytest.MonkeyPatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    console.configure()
    console.output("café 猫")
    console.result({"text": "é 猫 😀"})
    assert written.getvalue() == b'caf\xe9 \\u732b\n{"text": "\\u00e9 \\u732b \\ud83d\\ude00"}\n'


CALLS = "configure(), console.output('x'), console.info('y'), console.result({}), console.info('z')"
TABLE = "table('title', ['a'], [['1']], is_result=True), console.info('y')"


@pytest.mark.parametrize(
    ("closed", "read", "calls", "printed"),
    [("stdout", "stderr", CALLS, "y\nz\n"), ("stderr", "stdout", CALLS, "x\n{}\n"), ("stdout", "stderr", TABLE, "y\n")],
)
def test_the_command_continues_after_the_reader_of_its_output_has_left(closed, read, calls, printed):
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", f"from embedctl import console; console.{calls}"],
        **{closed: writer, read: subprocess.PIPE},
        text=True,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, getattr(ended, read)) == (0, printed)
