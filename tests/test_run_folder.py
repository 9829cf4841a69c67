"""The output folder of training: what a new run refuses, what it removes, and what it never changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedctl.commands.train import check_output, prepare_output
from embedctl.config import TrainConfig
from embedctl.errors import ConfigError, ModelError
from embedctl.files import write_atomically
from embedctl.model.loading import load_sentence_transformer
from embedctl.run_folder import CONFIG_FILE, LIST_FILE, RunFolder, is_incomplete_model

RUN = ("config.yaml", "metrics.jsonl", "modules.json", "model.safetensors", "1_Pooling/config.json", "embedctl.json")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A finished run, with files of the user beside those of the run."""
    folder = RunFolder(tmp_path / "out")
    folder.path.mkdir()
    folder.add([*RUN, "states/step-00000004", "checkpoints/best/modules.json"])
    for name in (*RUN, "states/step-00000004/position.json", "checkpoints/best/modules.json"):
        write(folder.path / name)
    for name in ("notes.txt", "checkpoints/mine.pt", "1_Pooling/mine.txt", "runs/events"):
        write(folder.path / name)
    return folder


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def config(folder: Path, **values: object) -> TrainConfig:
    """Return the configuration of a run in `folder`; a dict is a section."""
    run = {"output_dir": str(folder)} | {key: value for key, value in values.items() if not isinstance(value, dict)}
    sections = {key: value for key, value in values.items() if isinstance(value, dict)}
    return TrainConfig.model_validate({"run": run} | sections)


def test_only_files_of_the_run_are_removed(run):
    run.remove_run()
    assert contents(run.path) == {LIST_FILE, "notes.txt", "checkpoints/mine.pt", "1_Pooling/mine.txt", "runs/events"}
    assert not (run.path / "states").exists()
    assert run.is_run


def test_a_run_of_an_earlier_version_is_recognised_by_its_files(run):
    (run.path / LIST_FILE).unlink()
    (run.path / "checkpoints" / "mine.pt").unlink()
    assert run.is_run
    assert run.other_files() == []
    run.remove_run()
    assert contents(run.path) == {LIST_FILE, "notes.txt", "runs/events"}


@pytest.mark.parametrize(
    "name", ["config.yaml", "checkpoints/other.pt", "metrics.jsonl", "README.md", "tokenizer.json"]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_the_user_that_a_run_would_write_are_refused(tmp_path, name, overwrite):
    write(tmp_path / name, "mine")
    with pytest.raises(
        ConfigError, match="contains files that no run of embedctl wrote and that this run would replace: "
    ):
        check_output(config(tmp_path, overwrite=overwrite), RunFolder(tmp_path))


def test_other_files_of_the_user_require_overwrite_and_are_kept(tmp_path):
    write(tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match="contains files but no run"):
        check_output(config(tmp_path), RunFolder(tmp_path))
    check_output(config(tmp_path, overwrite=True), RunFolder(tmp_path))


def test_a_refused_run_leaves_no_lock_file(tmp_path):
    write(tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match="contains files but no run"):
        prepare_output(config(tmp_path))
    assert contents(tmp_path) == {"notes.txt"}


def test_a_finished_or_unfinished_run_requires_overwrite(run):
    with pytest.raises(ConfigError, match="contains a finished run"):
        check_output(config(run.path), run)
    check_output(config(run.path, overwrite=True), run)
    (run.path / "modules.json").unlink()
    with pytest.raises(ConfigError, match="contains an unfinished run"):
        check_output(config(run.path), run)


@pytest.mark.parametrize("inside", ["checkpoints/best", "1_Pooling/config.json", "states/step-00000004/position.json"])
@pytest.mark.parametrize("option", ["--model", "--dataset", "--eval-dataset"])
def test_an_input_inside_the_earlier_run_is_refused(run, inside, option):
    write(run.path / "checkpoints/best/model.safetensors")
    run.add(["checkpoints/best"])
    path = str(run.path / inside)
    section = {"--model": {"model": {"model_name_or_path": path}}}.get(option)
    section = section or {"data": {option.removeprefix("--").replace("-", "_"): (path,)}}
    with pytest.raises(ConfigError, match=f"{option} .* belongs to the run in .* that would be replaced"):
        check_output(config(run.path, overwrite=True, **section), run)


def test_an_input_of_the_user_inside_the_output_folder_is_kept(run):
    write(run.path / "rows.jsonl", "rows")
    check_output(config(run.path, overwrite=True, data={"dataset": (str(run.path / "rows.jsonl"),)}), run)
    run.remove_run()
    assert (run.path / "rows.jsonl").read_text() == "rows"


def test_the_next_run_replaces_the_earlier_one_only_when_it_starts(run):
    before = contents(run.path)
    run.next.mkdir()
    write_atomically(run.next / CONFIG_FILE, "new")
    assert contents(run.path) - before == {f"{run.next.name}/{CONFIG_FILE}"}
    run.start_next(run.next / CONFIG_FILE)
    assert (run.path / CONFIG_FILE).read_text() == "new"
    assert run.run_files() == [CONFIG_FILE]
    assert not run.has_model


def test_after_an_interrupted_removal_the_model_is_complete_or_refused(run, monkeypatch):
    """The removal is interrupted before each file."""
    names = json.loads((run.path / LIST_FILE).read_text())
    removed: list[Path] = []

    def check_before(path: Path) -> None:
        if removed:
            assert is_incomplete_model(run.path)
            with pytest.raises(ModelError, match="incomplete"):
                load_sentence_transformer(str(run.path))
        else:
            assert contents(run.path) >= set(RUN)
        removed.append(path)
        path.unlink(missing_ok=True) if path.is_file() else None

    monkeypatch.setattr("embedctl.run_folder.remove", check_before)
    run.remove_run()
    assert len(removed) == len(names)


def test_a_damaged_list_removes_nothing(run):
    (run.path / LIST_FILE).write_text('["config.y')
    before = contents(run.path)
    with pytest.raises(ConfigError, match="no run of embedctl wrote"):
        check_output(config(run.path, overwrite=True), run)
    run.remove_run()
    assert contents(run.path) == before


def test_a_list_of_files_cannot_name_files_that_no_run_writes(run, tmp_path):
    write(tmp_path / "outside.txt", "mine")
    write(run.path / "data.csv", "mine")
    write(run.path / "results.rank0.csv", "mine")
    names = ["../outside.txt", str(tmp_path / "outside.txt"), "data.csv", "states/../../outside.txt", "config.yaml"]
    (run.path / LIST_FILE).write_text(json.dumps(names))
    run.remove_run()
    assert not (run.path / "config.yaml").exists()
    for path in (tmp_path / "outside.txt", run.path / "data.csv", run.path / "results.rank0.csv"):
        assert path.read_text() == "mine"
