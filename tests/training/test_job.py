"""Settings of a run and of its launcher, from the configuration."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from embedctl.config import TrainConfig, load
from embedctl.data.sources import Source
from embedctl.distributed.launch import LaunchJob, LaunchPlan
from embedctl.errors import DataError
from embedctl.training.job import TrainJob, weight_bytes


def config(**flags: object) -> TrainConfig:
    return load(TrainConfig, None, flags)


def test_weight_bytes_of_local_models(tmp_path: Path):
    (tmp_path / "model-1.safetensors").write_bytes(b"12345")
    (tmp_path / "model-2.safetensors").write_bytes(b"123")
    assert weight_bytes(str(tmp_path)) == 8
    assert weight_bytes("BAAI/bge-base-zh-v1.5") is None  # it is not in the cache
    assert 10 << 20 < weight_bytes("tiny") < 100 << 20


def save_to_hub_cache(cache: Path, model: str, name: str, content: bytes) -> None:
    """Write a file of a Hub model to the cache as huggingface_hub does."""
    folder = cache / f"models--{model.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True, exist_ok=True)
    (folder / "snapshots" / ("0" * 40) / name).write_bytes(content)


def test_the_strategy_depends_on_the_size_of_a_hub_model(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    save_to_hub_cache(tmp_path, "some/small", "model.safetensors", b"123456")
    save_to_hub_cache(tmp_path, "sentence-transformers/short-name", "model.safetensors", b"1234")
    index = {"metadata": {"total_size": 15 << 30}, "weight_map": {}}
    save_to_hub_cache(tmp_path, "some/large", "model.safetensors.index.json", json.dumps(index).encode())
    sizes = {"some/small": 6, "short-name": 4, "some/large": 15 << 30, "some/other": None}
    assert {model: weight_bytes(model) for model in sizes} == sizes
    for model, strategy in (("some/small", "ddp"), ("some/large", "fsdp"), ("some/other", "fsdp")):
        job = TrainJob.from_config(config(model_name_or_path=model, num_processes=2, cpu=True))
        assert LaunchPlan.from_job(job.launch_job(job.folder)).strategy == strategy


def test_the_size_of_the_weights_is_not_read_for_a_given_strategy(monkeypatch):
    monkeypatch.setattr("embedctl.training.job.weight_bytes", lambda model: pytest.fail("read"))
    job = TrainJob.from_config(config(model_name_or_path="some/model", strategy="ddp"))
    assert job.launch_job(job.folder).weight_bytes is None


def test_settings_are_taken_from_the_configuration(tmp_path: Path):
    (tmp_path / "rows.jsonl").touch()
    flags = {"dataset": [f"{tmp_path}/rows.jsonl:2"], "output_dir": "out/", "early_stopping_patience": 3}
    job = TrainJob.from_config(config(**flags))
    assert job.sources == (Source(f"{tmp_path}/rows.jsonl", 2.0),)
    assert (job.run.output_dir, job.folder, job.run.early_stopping_patience) == ("out/", Path("out"), 3)
    assert job.data.positives == "sample"
    assert job.remine is None
    job = TrainJob.from_config(config(**flags, remine_every_epoch=True, positives="explode"))
    assert job.data.positives == "explode"
    assert job.remine is not None
    assert job.remine.remine_range == "10-210"
    with pytest.raises(DataError, match="no such file"):
        TrainJob.from_config(config(dataset=["none.jsonl"]))


def test_launcher_and_workers_use_the_same_values_for_the_strategy():
    job = TrainJob.from_config(config(num_processes=2, cpu=True, model_name_or_path="tiny", quiet=True))
    launch = job.launch_job(job.folder)
    assert (launch.strategy, launch.weight_bytes) == (job.launch.strategy, job.weight_bytes)
    assert (launch.folder, launch.processes, launch.weight_bytes) == ("out", 2, weight_bytes("tiny"))
    assert (launch.device, launch.quiet, launch.remove_folder) == ("cpu", True, False)
    assert LaunchPlan.from_job(launch) == LaunchPlan(2, uses_gpus=False, strategy="ddp")
    assert LaunchJob(**json.loads(json.dumps(asdict(launch)))) == launch
