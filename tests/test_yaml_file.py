"""Configuration files in YAML: content that is refused, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedctl.config import TrainConfig, load
from embedctl.config.yaml_file import parse
from embedctl.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("optim:\n  lr: 1.0e-5\n  epochs: 3\n  lr: 0.5\n", ":4: not YAML: the key lr is given twice"),
        ("optim: {}\n3: 4\n", ":2: not YAML: a key is not text"),
        ("optim:\n  seed: " + "9" * 5000 + "\n", ":2: not YAML: 99999999999999999999... is not a number"),
        ("optim:\n  lr: " + "[" * 500 + "]" * 500 + "\n", ":2: not YAML: more than 20 nested levels"),
        ("optim:\n\n  seed: 2026-01-02\n", ":3: optim.seed: expected an integer, not '2026-01-02'"),
        ("optim:\n  lr: yes\n", ":2: optim.lr: expected a number, not true"),
    ],
)
def test_content_that_is_refused(tmp_path: Path, text, problem):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load(TrainConfig, str(tmp_path / "own.yaml"))
    assert problem in error.value.message


def test_content_and_lines():
    assert parse("a:\n  b: 1\n\nc: [x]\n") == ({"a": {"b": 1}, "c": ["x"]}, {("a",): 1, ("a", "b"): 2, ("c",): 4})
    assert parse("") == (None, {})


def test_a_scalar_is_a_list_of_one(tmp_path: Path):
    (tmp_path / "own.yaml").write_text("data: {dataset: rows.jsonl}\nloss: {mrl_dims: 64}\n")
    config = load(TrainConfig, str(tmp_path / "own.yaml"))
    assert (config.data.dataset, config.loss.mrl_dims) == (("rows.jsonl",), (64,))
