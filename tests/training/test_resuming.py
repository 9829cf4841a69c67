"""Settings that a resumed run must share with its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedctl.config import TrainConfig, load
from embedctl.errors import ConfigError
from embedctl.training.resuming import check_unchanged, fixed_settings, stored_settings


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"query": "a", "pos": ["b"]}\n')
    return tmp_path / "rows.jsonl"


def settings_of(rows: Path, **flags: object) -> dict[str, object]:
    return fixed_settings(load(TrainConfig, None, {"dataset": [str(rows)], **flags}).model_dump(mode="json"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"batch_size": 2}, "--batch-size: the resumed run was started with 32, not 2"),
        ({"model_name_or_path": "m"}, "--model-name-or-path: the resumed run was started with tiny, not m"),
        ({"lora_rank": 4}, "--lora-rank: the resumed run was started with 0, not 4"),
        ({"query_prompt": "q: "}, "--query-prompt: the resumed run was started with none, not q: "),
        ({"mrl_dims": ["8", "16"]}, "--mrl-dims: the resumed run was started with none, not 8,16"),
    ],
)
def test_other_settings_are_refused_by_name(rows, flags, message):
    with pytest.raises(ConfigError) as error:
        check_unchanged(settings_of(rows), settings_of(rows, **flags))
    assert error.value.message == message


def test_other_rows_are_refused_and_moved_ones_are_not(rows, tmp_path):
    stored = settings_of(rows)
    moved = rows.rename(tmp_path / "moved.jsonl")
    check_unchanged(stored, settings_of(moved))
    with pytest.raises(ConfigError, match="--dataset: the resumed run was started with other rows"):
        check_unchanged(stored, settings_of(Path(f"{moved}:2")))
    moved.write_text('{"query": "a", "pos": ["c"]}\n')
    with pytest.raises(ConfigError, match="--dataset: the resumed run was started with other rows"):
        check_unchanged(stored, settings_of(moved))


def test_epochs_rate_processes_lengths_and_new_evaluation_rows_may_change(rows):
    changes = {"epochs": 9, "lr": 1.0, "num_processes": 3, "strategy": "fsdp", "passage_max_len": 9, "neg_nums": 2}
    changed = settings_of(rows, **changes, eval_dataset=[str(rows)])
    assert changed | {"eval_dataset": []} == settings_of(rows)  # the others are not fixed
    check_unchanged(settings_of(rows), changed)
    check_unchanged({}, changed)


def test_settings_are_read_from_the_newest_checkpoint(rows, tmp_path):
    stored = settings_of(rows)
    for step, batch_size in ((2, 8), (4, 16)):
        folder = tmp_path / "run" / "states" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "position.json").write_text(json.dumps({"settings": stored | {"batch_size": batch_size}}))
    assert stored_settings("latest", tmp_path / "run")["batch_size"] == 16
    assert stored_settings(str(tmp_path / "run"), Path("elsewhere"))["batch_size"] == 16
    assert stored_settings(str(tmp_path / "run" / "states" / "step-00000002"), tmp_path)["batch_size"] == 8
    assert stored_settings("latest", tmp_path / "empty") == {}
