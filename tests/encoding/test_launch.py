"""What the ranks of encode are started with, and when they are not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from embedctl.config import EncodeConfig, load
from embedctl.distributed.launch import Plan
from embedctl.encoding.launch import become_launcher, launch_job
from embedctl.errors import ConfigError


def plan(**flags: str) -> Plan:
    return Plan.of(launch_job(load(EncodeConfig, None, {"num_processes": "2"} | flags), Path("job")))


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_for_each():
    assert plan() == Plan(2, gpus=True, strategy="ddp")
    assert plan(device="cuda").gpus
    assert not plan(device="cpu").gpus
    with pytest.raises(ConfigError, match="this machine shows 2 GPUs") as wrong:
        plan(num_processes="3")
    assert "--device cpu" in wrong.value.hint
    with pytest.raises(ConfigError, match="--device cuda:1: is one device, for 2 processes"):
        plan(device="cuda:1")


def test_the_launcher_gets_the_job_and_the_workers_the_configuration(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    given: list[str] = []
    monkeypatch.setattr(os, "execv", lambda _program, arguments: given.extend(arguments))
    config = load(EncodeConfig, None, {"num_processes": "2", "output": "vectors/", "overwrite": True})
    become_launcher(config)
    assert given[1:3] == ["-m", "embedctl.distributed.supervise"]
    job = json.loads(given[3])
    assert (job["worker"], job["temporary"]) == ("embedctl.encoding.worker", True)
    assert job["after_stop"] == "the same command without --overwrite goes on with the next shard"
    assert load(EncodeConfig, f"{job['folder']}/config.yaml") == config
