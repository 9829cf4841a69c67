"""Tests of `EncodeJob`: defaults, checks of the options, and launch of the worker processes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from embedctl.config import EncodeConfig, dump, load
from embedctl.distributed.launch import LaunchPlan
from embedctl.encoding.job import EncodeJob, launch_job, launch_workers
from embedctl.errors import ConfigError
from embedctl.resources import example_data


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job(device: str | None = None, /, **flags: str) -> EncodeJob:
    return EncodeJob.from_config(load(EncodeConfig, None, flags), device)


def test_a_job_has_the_documented_defaults():
    default = job()
    assert (default.model, default.output, default.sharded) == ("out", Path("texts.npy"), False)
    assert default.precision == "float32"
    assert default.input == str(example_data("texts.txt"))
    assert all(type(value) in (str, int, bool, type(Path()), type(None)) for value in asdict(default).values())


@pytest.mark.parametrize(
    ("source", "output"),
    [("-", "embeddings.npy"), ("deep/a.b.jsonl.gz", "a.b.npy"), ("folder.v1", "folder.v1.npy"), (".", "work.npy")],
)
def test_the_output_is_named_after_the_input(source, output, folder, monkeypatch):
    (folder / "work/folder.v1").mkdir(parents=True)
    monkeypatch.chdir(folder / "work")
    assert job(input=source).output == Path(output)


def test_an_existing_folder_and_a_name_with_a_slash_are_output_folders(folder):
    (folder / "existing").mkdir()
    jobs = [job(output=name) for name in ("new/", "existing", "new", "new.npy")]
    assert [each.sharded for each in jobs] == [True, True, False, False]
    assert [each.output_name for each in jobs] == ["new/", "existing/", "new", "new.npy"]


def test_the_device_of_a_process_overrides_the_option_and_onnx_uses_the_cpu():
    jobs = [job(), job(device="cuda"), job("cuda:1"), job("cuda:1", device="cuda")]
    assert [each.device for each in jobs] == [None, "cuda", "cuda:1", "cuda:1"]
    assert job("cuda:1", backend="onnx").device == "cpu"


@pytest.mark.parametrize(
    "flags",
    [
        {"prompt": "a", "prompt_name": "b"},
        {"backend": "onnx", "device": "cuda"},
        {"backend": "openvino", "precision": "float16"},
    ],
)
def test_contradicting_options_are_errors(flags):
    with pytest.raises(ConfigError):
        job(**flags)


def test_the_job_of_a_worker_differs_only_in_the_device(folder):
    config = load(EncodeConfig, None, {"output": "x/", "dim": "64", "index": "ivf", "prompt": "", "overwrite": "true"})
    (folder / "config.yaml").write_text(dump(config), encoding="utf-8")
    worker_job = EncodeJob.from_config(load(EncodeConfig, "config.yaml"), "cuda:1")
    assert worker_job == replace(EncodeJob.from_config(config), device="cuda:1")


def plan(**flags: str) -> LaunchPlan:
    return LaunchPlan.from_job(launch_job(load(EncodeConfig, None, {"num_processes": "2"} | flags), Path("job")))


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_each_process_requires_its_own_gpu():
    assert plan() == LaunchPlan(2, uses_gpus=True, strategy="ddp")
    assert plan(device="cuda").uses_gpus
    assert not plan(device="cpu").uses_gpus
    with pytest.raises(ConfigError, match="this machine has only 2 GPUs") as raised:
        plan(num_processes="3")
    assert "--device cpu" in raised.value.hint
    with pytest.raises(ConfigError, match="--device cuda:1: 2 processes cannot share one device"):
        plan(device="cuda:1")


def test_launch_workers_starts_the_supervisor_and_writes_the_configuration(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    arguments: list[str] = []
    monkeypatch.setattr(os, "execv", lambda _program, argv: arguments.extend(argv))
    config = load(EncodeConfig, None, {"num_processes": "2", "output": "vectors/", "overwrite": True})
    launch_workers(config)
    assert arguments[1:3] == ["-m", "embedctl.distributed.supervise"]
    job = json.loads(arguments[3])
    assert (job["worker"], job["remove_folder"]) == ("embedctl.encoding.worker", True)
    assert job["stop_hint"] == "run the same command without --overwrite again to continue with the next shard"
    assert load(EncodeConfig, f"{job['folder']}/config.yaml") == config
