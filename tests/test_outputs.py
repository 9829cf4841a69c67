"""Which existing files a command may replace, and the lock of its outputs."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedctl.errors import ConfigError, OutputError
from embedctl.files import temporary_for, write_atomically
from embedctl.locks import LOCK_FILE
from embedctl.outputs import Output, claim, recorder, remove_stale, was_recorded

HOLD = """
import sys
from pathlib import Path
from embedctl.outputs import Output, claim
with claim([Output("--output", Path(sys.argv[1]), "text", sys.argv[2])], {}, overwrite=True):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDCTL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def write(output: Output, text: str, *, overwrite: bool = False) -> None:
    """Do what a command does: claim the output, write it and finish."""
    with claim([output], {}, overwrite=overwrite):
        write_atomically(output.path, text, complete=recorder(output.path, output.content))


def test_the_same_command_replaces_its_own_output_without_overwrite():
    output = Output("--output", Path("v.npy"), "text")
    for text in ("first", "second"):
        write(output, text)
        assert output.path.read_text() == text
    assert sorted(path.name for path in Path().iterdir()) == ["cache", "v.npy"]


def test_a_file_of_the_user_requires_overwrite():
    output = Output("--output", Path("v.npy"), "text")
    output.path.write_text("mine")
    with pytest.raises(ConfigError, match=r"--output v\.npy already exists") as error:
        write(output, "new")
    assert "--overwrite" in error.value.hint
    assert output.path.read_text() == "mine"
    write(output, "new", overwrite=True)
    assert output.path.read_text() == "new"


def test_an_output_that_the_user_changed_requires_overwrite():
    output = Output("--output", Path("v.npy"), "text")
    write(output, "new")
    assert was_recorded(output.path, "text")
    output.path.write_text("edited")
    with pytest.raises(ConfigError, match="already exists"):
        write(output, "newer")
    assert output.path.read_text() == "edited"


def test_a_stale_index_that_embedctl_did_not_write_is_removed_only_with_overwrite():
    output, stale = (
        Output("--output", Path("v.npy"), "text"),
        Output("--index", Path("v.npy.index"), "index", "folder", written=False),
    )
    stale.path.mkdir()
    with (
        pytest.raises(ConfigError, match=r"v\.npy\.index exists; this command would remove it"),
        claim([output, stale], {}, overwrite=False),
    ):
        pass
    with claim([output, stale], {}, overwrite=True):
        assert stale.path.exists()  # until the new output is complete
        remove_stale([output, stale])
    assert not stale.path.exists()


OUTPUTS = {
    "encode --output FILE": Output("--output", Path("taken"), "text"),
    "encode --output FOLDER/": Output("--output", Path("taken"), "text", "managed"),
    "encode --index": Output("--index", Path("taken"), "text", "folder"),
    "mine-negatives --output": Output("--output", Path("taken"), "text"),
    "mine-negatives --report": Output("--report", Path("taken"), "text"),
}
INPUTS = ("--input", "--dataset", "--corpus", "--model")


@pytest.mark.parametrize(("output", "option"), [*itertools.product(OUTPUTS, INPUTS)])
def test_no_output_may_be_an_input(output, option):
    """Also with --overwrite; a folder must not contain an input either."""
    path = OUTPUTS[output].path
    if OUTPUTS[output].kind == "file":
        path.write_text("input")
        given = path
    else:
        path.mkdir()
        given = path / "input"
        given.write_text("input")
    with (
        pytest.raises(ConfigError, match=r"is an input file|contains an input"),
        claim([OUTPUTS[output]], {option: [str(given.absolute())]}, overwrite=True),
    ):
        pass
    assert given.read_text() == "input"


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_link_to_an_input_is_the_input(link, folder):
    Path("rows.jsonl").write_text("rows")
    link(folder / "rows.jsonl", "other.jsonl")
    with (
        pytest.raises(ConfigError, match="is an input file"),
        claim([Output("--output", Path("other.jsonl"), "text")], {"--dataset": ["rows.jsonl"]}, overwrite=True),
    ):
        pass


def test_two_outputs_must_differ():
    outputs = [Output("--output", Path("a.jsonl"), "text"), Output("--report", Path("./a.jsonl"), "text")]
    with (
        pytest.raises(ConfigError, match=r"--report a\.jsonl is also the file of --output"),
        claim(outputs, {}, overwrite=True),
    ):
        pass


@pytest.mark.parametrize(
    ("kind", "message"), [("file", "is a folder"), ("folder", "is a file"), ("managed", "is a file")]
)
def test_an_output_of_another_type_is_refused(kind, message):
    path = Path("taken")
    path.mkdir() if kind == "file" else path.touch()
    with pytest.raises(ConfigError, match=message), claim([Output("--output", path, "text", kind)], {}, overwrite=True):
        pass


@pytest.mark.parametrize("kind", ["file", "managed"])
def test_a_second_command_is_refused_while_the_first_one_runs(kind, folder):
    path = folder / "out"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "locked\n"
    output = Output("--output", path, "text", kind)
    with pytest.raises(ConfigError, match=rf"is in use: .*process {first.pid}\)"), claim([output], {}, overwrite=True):
        pass
    first.kill()  # a crash releases the lock
    first.communicate()
    with claim([output], {}, overwrite=True):
        pass
    assert not (path / LOCK_FILE).exists()
    assert not (folder / ".out.lock").exists()


def test_only_one_of_many_commands_that_start_together_gets_the_lock(folder):
    path = str(folder / "out")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, path, "file"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(4)
    ]
    deadline = time.monotonic() + 60
    while sum(process.poll() is None for process in started) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    alive = [process for process in started if process.poll() is None]
    assert len(alive) == 1
    alive[0].communicate("")
    assert alive[0].returncode == 0
    for process in started:
        process.communicate()


def test_temporary_files_of_a_killed_command_are_removed_from_a_folder_of_shards(tmp_path):
    folder = tmp_path / "v"
    folder.mkdir()
    for file in (".shard-00004.json.1715151e60bf01fe.tmp", "shard-00000.npy", ".notes.tmp"):
        (folder / file).touch()
    with claim([Output("--output", folder, "embeddings", "managed")], {}, overwrite=False):
        left = {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}
    assert left == {".notes.tmp", "shard-00000.npy"}


def test_temporary_files_of_a_killed_command_are_removed_and_others_kept():
    output = Output("--output", Path("v.npy"), "text")
    stale, other = temporary_for(output.path), temporary_for(Path("w.npy"))
    stale.touch()
    other.touch()
    Path(".v.npy.notes.tmp").touch()
    write(output, "new")
    assert not stale.exists()
    assert other.exists()
    assert Path(".v.npy.notes.tmp").exists()


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_link_in_the_place_of_the_lock_is_refused(link, folder):
    Path("precious").write_text("mine")
    link(folder / "precious", ".v.npy.lock")
    with pytest.raises(ConfigError, match=r"\.v\.npy\.lock (is a symbolic link|exists), but"):
        write(Output("--output", Path("v.npy"), "text"), "new")
    assert Path("precious").read_text() == Path(".v.npy.lock").read_text() == "mine"


def test_a_file_of_the_user_in_the_place_of_the_lock_is_refused():
    Path(".v.npy.lock").write_text("mine")
    with pytest.raises(ConfigError, match=r"\.v\.npy\.lock exists, but is not a lock file of embedctl"):
        write(Output("--output", Path("v.npy"), "text"), "new")
    assert Path(".v.npy.lock").read_text() == "mine"


def test_the_output_of_another_command_requires_overwrite():
    write(Output("--output", Path("d.jsonl"), "mined rows"), "rows")
    with pytest.raises(ConfigError, match="it was not written by the same command"):
        write(Output("--output", Path("d.jsonl"), "embeddings"), "vectors")
    assert Path("d.jsonl").read_text() == "rows"


def test_a_file_that_appears_while_the_command_runs_is_kept():
    output = Output("--output", Path("v.npy"), "text")
    with claim([output], {}, overwrite=False):
        Path("v.npy").write_text("mine")
        with pytest.raises(OutputError, match="was created or changed by another program") as error:
            write_atomically(output.path, "new", complete=recorder(output.path, "text"))
    assert Path("v.npy").read_text() == "mine"
    kept = error.value.hint.removeprefix("rename or remove ").partition(",")[0]
    assert Path(kept).read_text() == "new"


def test_an_output_that_is_a_link_of_the_user_stays_a_link():
    Path("elsewhere").mkdir()
    Path("v.npy").symlink_to("elsewhere/v.npy")
    for text in ("first", "second"):
        write(Output("--output", Path("v.npy"), "text"), text)
        assert Path("v.npy").is_symlink()
        assert Path("elsewhere/v.npy").read_text() == text
