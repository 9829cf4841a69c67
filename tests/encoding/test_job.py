"""The job of encode: every choice is made where the configuration becomes a job, that of its processes included."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from embedctl.config import EncodeConfig, dump, load
from embedctl.distributed.launch import LaunchPlan
from embedctl.encoding.job import EncodeJob, become_launcher, launch_job
from embedctl.errors import ConfigError
from embedctl.resources import example_data


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job(device: str | None = None, /, **flags: str) -> EncodeJob:
    return EncodeJob.of(load(EncodeConfig, None, flags), device)


def test_without_options_everything_is_decided():
    made = job()
    assert (made.model, made.output, made.sharded, made.precision) == ("out", Path("texts.npy"), False, "float32")
    assert made.input == str(example_data("texts.txt"))
    assert all(type(value) in (str, int, bool, type(Path()), type(None)) for value in asdict(made).values())


@pytest.mark.parametrize(
    ("source", "output"),
    [("-", "embeddings.npy"), ("deep/a.b.jsonl.gz", "a.b.npy"), ("folder.v1", "folder.v1.npy"), (".", "work.npy")],
)
def test_the_output_is_named_after_the_input(source, output, folder, monkeypatch):
    (folder / "work/folder.v1").mkdir(parents=True)
    monkeypatch.chdir(folder / "work")
    assert job(input=source).output == Path(output)


def test_a_folder_is_one_that_is_there_or_whose_name_ends_in_a_slash(folder):
    (folder / "there").mkdir()
    made = [job(output=name) for name in ("new/", "there", "new", "new.npy")]
    assert [each.sharded for each in made] == [True, True, False, False]
    assert [each.output_name for each in made] == ["new/", "there/", "new", "new.npy"]


def test_the_device_is_the_processs_own_and_the_cpu_where_the_backend_has_no_other():
    made = [job(), job(device="cuda"), job("cuda:1"), job("cuda:1", device="cuda")]
    assert [each.device for each in made] == [None, "cuda", "cuda:1", "cuda:1"]
    assert job("cuda:1", backend="onnx").device == "cpu"


@pytest.mark.parametrize(
    "flags",
    [
        {"prompt": "a", "prompt_name": "b"},
        {"backend": "onnx", "device": "cuda"},
        {"backend": "openvino", "precision": "float16"},
    ],
)
def test_options_that_contradict_each_other_are_refused(flags):
    with pytest.raises(ConfigError):
        job(**flags)


def test_a_worker_resolves_the_same_job_but_for_its_device(folder):
    config = load(EncodeConfig, None, {"output": "x/", "dim": "64", "index": "ivf", "prompt": "", "overwrite": "true"})
    (folder / "config.yaml").write_text(dump(config), encoding="utf-8")
    own = EncodeJob.of(load(EncodeConfig, "config.yaml"), "cuda:1")
    assert own == replace(EncodeJob.of(config), device="cuda:1")


def plan(**flags: str) -> LaunchPlan:
    return LaunchPlan.of(launch_job(load(EncodeConfig, None, {"num_processes": "2"} | flags), Path("job")))


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_for_each():
    assert plan() == LaunchPlan(2, gpus=True, strategy="ddp")
    assert plan(device="cuda").gpus
    assert not plan(device="cpu").gpus
    with pytest.raises(ConfigError, match="this machine has only 2 GPUs") as wrong:
        plan(num_processes="3")
    assert "--device cpu" in wrong.value.hint
    with pytest.raises(ConfigError, match="--device cuda:1: 2 processes can't share one device"):
        plan(device="cuda:1")


def test_the_launcher_gets_the_job_and_the_workers_the_configuration(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    given: list[str] = []
    monkeypatch.setattr(os, "execv", lambda _program, arguments: given.extend(arguments))
    config = load(EncodeConfig, None, {"num_processes": "2", "output": "vectors/", "overwrite": True})
    become_launcher(config)
    assert given[1:3] == ["-m", "embedctl.distributed.supervise"]
    job = json.loads(given[3])
    assert (job["worker"], job["remove_folder"]) == ("embedctl.encoding.worker", True)
    assert job["stop_hint"] == "the same command without --overwrite goes on with the next shard"
    assert load(EncodeConfig, f"{job['folder']}/config.yaml") == config
