"""Runs of `embedctl train`: files, metrics, errors, resumed runs, and several processes."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

WORDS = ["tea", "water", "leaf", "cup", "kettle", "steam", "garden", "bee", "hive", "honey", "train", "rail", "engine"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """23 rows with hard negatives, which no batch size or number of processes divides, and 8 evaluation rows."""
    draw = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data")

    def text(size: int) -> str:
        return " ".join(draw.choice(WORDS, size))

    for name, count in (("train.jsonl", 23), ("eval.jsonl", 8)):
        rows = [{"query": text(3), "pos": [text(8)], "neg": [text(7) for _ in range(4)]} for _ in range(count)]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def small_model(tmp_path_factory, data):
    texts = [line for name in ("train.jsonl", "eval.jsonl") for line in (data / name).read_text().splitlines()]
    return runs.save_small_model(texts, tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def flags(data, small_model):
    return ["--model", small_model, "--dataset", data / "train.jsonl", "--neg-nums", 3, "--lr", "1e-3", "--epochs", 2]


@pytest.fixture(scope="module")
def finished(flags, data, cache, tmp_path_factory):
    """A finished run of one process with 6 steps of at most 8 queries."""
    out = tmp_path_factory.mktemp("runs") / "out"
    ended = runs.embedctl(
        "train",
        *flags,
        "--batch-size",
        8,
        "--eval-dataset",
        data / "eval.jsonl",
        "--save-on-epoch-end",
        "-o",
        out,
        cache=cache,
    )
    assert ended.returncode == 0, ended.stderr
    return out, ended


def test_run_saves_a_sentence_transformers_model(finished):
    from sentence_transformers import SentenceTransformer

    out, ended = finished
    model = SentenceTransformer(str(out), device="cpu")
    assert model.max_seq_length == 512
    assert model.encode(["tea"]).shape == (1, 256)
    assert (out / "checkpoints" / "epoch-1" / "modules.json").exists()
    assert "sentence-transformers" in (out / "README.md").read_text()
    facts = json.loads((out / "embedctl.json").read_text())
    assert (facts["steps"], facts["query_max_len"], facts["passage_max_len"]) == (6, 128, 512)
    assert json.loads((out / "tokenizer.json").read_text())["truncation"] is None
    assert "queries to 128 tokens, passages to 512 tokens" in " ".join(ended.stderr.replace("│", " ").split())
    assert "cosine 1.000000" in " ".join(ended.stderr.replace("│", " ").split())
    assert not list(out.glob(".*tmp*"))


def test_metrics_file_contains_every_step_and_epoch(finished):
    out, _ = finished
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1]["lr"] == 0.0
    assert [line["step"] for line in lines if "eval" in line] == [0, 3, 6]


def test_eval_of_the_output_equals_the_last_metrics_of_the_run(finished, cache):
    out, _ = finished
    ended = runs.embedctl("eval", "--ckpt", out, "--json", "--quiet", cache=cache)
    assert ended.returncode == 0, ended.stderr
    recorded = json.loads((out / "embedctl.json").read_text())["metrics"]
    assert json.loads(ended.stdout)["metrics"] == pytest.approx(recorded, abs=1e-9)


def test_same_command_gives_the_same_weights(finished, flags, cache, tmp_path):
    out, _ = finished
    ended = runs.embedctl("train", *flags, "--batch-size", 8, "-o", tmp_path / "again", cache=cache)
    assert ended.returncode == 0, ended.stderr
    assert runs.weights(tmp_path / "again") == runs.weights(out)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_give_the_same_result_as_one(strategy, finished, flags, data, cache, tmp_path):
    """With half the batch size per process, weights and metrics equal those of one process."""
    ended = runs.embedctl(
        "train",
        *flags,
        "--batch-size",
        4,
        "--num-processes",
        2,
        "--strategy",
        strategy,
        "--eval-dataset",
        data / "eval.jsonl",
        "--eval-steps",
        3,
        "-o",
        tmp_path / "two",
        cache=cache,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"2 on cpu, {strategy}" in ended.stderr
    one, two = (load_file(folder / "model.safetensors") for folder in (finished[0], tmp_path / "two"))
    assert one.keys() == two.keys()
    # A weight whose gradient is only rounding noise still moves by up to lr per step in AdamW. A wrong gradient would
    # move weights by 6 lr.
    assert max(float(np.abs(one[name] - two[name]).max()) for name in one) < 0.1 * 1e-3
    of_one, of_two = recorded(finished[0], "eval"), recorded(tmp_path / "two", "eval")
    assert list(of_one) == list(of_two) == [0, 3, 6]
    assert all(of_two[step] == pytest.approx(metrics, abs=1e-6) for step, metrics in of_one.items())


def recorded(out: Path, name: str) -> dict[int, object]:
    """Return the values of a key of metrics.jsonl, by step."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line[name] for line in lines if name in line}


def test_finished_run_is_not_overwritten(finished, flags, cache):
    out, _ = finished
    before = runs.weights(out)
    ended = runs.embedctl("train", *flags, "-o", out, cache=cache)
    assert ended.returncode == 2
    assert "contains a finished run" in ended.stderr
    assert "--overwrite" in ended.stderr
    assert runs.weights(out) == before


def test_error_of_a_worker_is_printed_as_one_message(flags, data, cache, tmp_path):
    bad = tmp_path / "bad.jsonl"
    good = (data / "train.jsonl").read_text()
    bad.write_text(good * 5 + '{"query": "late", "pos": "no list"}\n')
    ended = runs.embedctl(
        "train", *flags[:2], "--dataset", bad, "--num-processes", 2, "-o", tmp_path / "out", cache=cache
    )
    assert ended.returncode == 2
    assert f"{bad}:116: pos: the value must be a list of strings" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out" / "modules.json").exists()


def test_data_without_negatives_is_an_error(small_model, data, cache, tmp_path):
    ended = runs.embedctl(
        "train",
        "--model",
        small_model,
        "--dataset",
        data / "train.jsonl",
        "--neg-nums",
        0,
        "--in-batch",
        "none",
        "-o",
        tmp_path / "out",
        cache=cache,
    )
    assert ended.returncode == 2
    assert "no query of any batch has a negative" in ended.stderr
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


LONGER = ["--epochs", 12, "--lr", "2e-5"]


@pytest.fixture(scope="module")
def uninterrupted(flags, cache, tmp_path_factory):
    """An uninterrupted run of one process with 36 steps."""
    out = tmp_path_factory.mktemp("runs") / "uninterrupted"
    ended = runs.embedctl("train", *flags[:-4], *LONGER, "--batch-size", 8, "-o", out, cache=cache)
    assert ended.returncode == 0, ended.stderr
    return out


def stop(out: Path, number: int, *arguments: object, cache: Path, folder: Path) -> tuple[int, str]:
    """Start a run in a working folder and send it a signal after step 4; return its exit code and messages."""
    command = runs.command("train", *arguments, "-o", out)
    process = subprocess.Popen(command, env=runs.environment(cache), stderr=subprocess.PIPE, text=True, cwd=folder)
    deadline = time.monotonic() + 240
    while not ((out / "metrics.jsonl").exists() and '"step": 4,' in (out / "metrics.jsonl").read_text()):
        assert time.monotonic() < deadline, "step 4 was not recorded"
        time.sleep(0.05)
    process.send_signal(number)
    _, messages = process.communicate(timeout=120)
    return process.returncode, messages


def test_run_stopped_by_ctrl_c_saves_a_checkpoint_and_resumes_to_equal_weights(uninterrupted, flags, cache, tmp_path):
    out = tmp_path / "stopped"
    longer = [*flags[:-4], *LONGER, "--batch-size", 8]
    code, messages = stop(out, signal.SIGINT, *longer, cache=cache, folder=tmp_path)
    assert code == 130, messages
    assert "a checkpoint is saved" in messages
    resumed = runs.embedctl("train", "--resume", out, cache=cache)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from" in resumed.stderr
    assert runs.weights(out) == runs.weights(uninterrupted)
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 37))


@pytest.mark.parametrize(("before", "after", "strategy"), [(1, 2, "fsdp"), (2, 1, "ddp")])
def test_run_resumed_with_another_number_of_processes_has_the_same_losses(
    before, after, strategy, uninterrupted, data, small_model, flags, cache, tmp_path
):
    """The run is started with relative paths in one folder, stopped by SIGTERM, and resumed in another folder."""
    out = tmp_path / "changed"
    relative = ["--dataset", "train.jsonl", "--model", Path("..") / small_model.parent.name / small_model.name]
    arguments = [*relative, *flags[4:-4], *LONGER, "--batch-size", 8 // before, "--num-processes", before]
    code, messages = stop(out, signal.SIGTERM, *arguments, "--strategy", strategy, cache=cache, folder=data)
    assert code == 143, messages
    resumed = runs.embedctl("train", "--resume", out, "--num-processes", after, "--strategy", strategy, cache=cache)
    assert resumed.returncode == 0, resumed.stderr
    assert f"the number of processes changed from {before} to {after}" in resumed.stderr
    expected, found = recorded(uninterrupted, "loss"), recorded(out, "loss")
    assert expected == pytest.approx(found, abs=1e-5)
    assert found != expected
    one, other = (load_file(folder / "model.safetensors") for folder in (uninterrupted, out))
    difference = max(float(np.abs(one[name] - other[name]).max()) for name in one)
    assert difference < 1e-6
