"""What the ranks of encode are started with, and when they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import yaml

from embedctl.config import EncodeConfig, load
from embedctl.encoding.launch import main, on_gpus, prepare
from embedctl.errors import ConfigError


def config(**flags: str) -> EncodeConfig:
    return load(EncodeConfig, None, {"num_processes": "2"} | flags)


def test_ranks_on_cpus(tmp_path, monkeypatch):
    for name in ("ACCELERATE_USE_CPU", "OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    prepare(tmp_path, config(device="cpu"))
    document = yaml.safe_load((tmp_path / "accelerate.yaml").read_text())
    assert (document["num_processes"], document["use_cpu"], document["distributed_type"]) == (2, False, "MULTI_GPU")
    assert "fsdp_config" not in document
    assert os.environ["ACCELERATE_USE_CPU"] == "true"


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_for_each():
    assert on_gpus(config())
    assert on_gpus(config(device="cuda"))
    assert not on_gpus(config(device="cpu"))
    with pytest.raises(ConfigError, match="this machine shows 2 GPUs"):
        on_gpus(config(num_processes="3"))
    with pytest.raises(ConfigError, match="--device cuda:1: is one device, for 2 processes"):
        on_gpus(config(device="cuda:1"))


@pytest.mark.usefixtures("two_gpus")
def test_a_mistake_is_said_and_leaves_nothing(tmp_path: Path, capsys):
    (tmp_path / "job").mkdir()
    (tmp_path / "job/config.yaml").write_text("num_processes: 3\n")
    assert main(tmp_path / "job") == 2
    assert "error: --num-processes 3: this machine shows 2 GPUs" in capsys.readouterr().err
    assert not (tmp_path / "job").exists()
