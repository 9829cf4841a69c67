"""What accelerate is given for a job, and which strategy a job gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import yaml

from embedctl.distributed.launch import (
    LaunchJob,
    Plan,
    accelerate_document,
    choose_strategy,
    command_line,
    write_launch,
)
from embedctl.errors import ConfigError


def job(**values) -> LaunchJob:
    return LaunchJob(**{"worker": "some.worker", "folder": "job"} | values)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("asked", "processes", "size", "strategy", "reason"),
    [
        ("fsdp", 1, None, "none", "one process"),
        ("ddp", 2, 100 << 30, "ddp", "as asked"),
        ("fsdp", 2, 1, "fsdp", "as asked"),
        ("auto", 2, None, "fsdp", "the model's size is not known here"),
        ("auto", 2, 1 << 30, "ddp", "1.0 GiB of weights fit each process"),
        ("auto", 2, 14 << 30, "fsdp", "14.0 GiB of weights are better sharded"),
    ],
)
def test_the_strategy_follows_from_processes_and_size(asked, processes, size, strategy, reason):
    chosen, why = choose_strategy(asked, processes, size)
    assert chosen == strategy
    assert why.startswith(reason)


@pytest.mark.usefixtures("two_gpus")
def test_a_process_for_each_gpu_of_all_machines():
    assert Plan.of(job(weight_bytes=1)) == Plan(2, gpus=True, strategy="ddp")
    assert Plan.of(job(machines=3)) == Plan(6, gpus=True, strategy="fsdp")
    assert Plan.of(job(device="cpu")) == Plan(1, gpus=False, strategy="none")
    assert Plan.of(job(device="cpu", processes=5, strategy="fsdp")) == Plan(5, gpus=False, strategy="fsdp")


@pytest.mark.usefixtures("two_gpus")
def test_more_processes_than_gpus_are_refused():
    with pytest.raises(ConfigError, match="--num-processes 3: this machine shows 2 GPUs") as wrong:
        Plan.of(job(processes=3))
    assert wrong.value.hint == "--num-processes 2, or --cpu"
    assert Plan.of(job(processes=4, machines=2)).processes == 4


def test_several_machines_are_named_to_accelerate():
    spread = job(machines=2, machine_rank=1, main_process_ip="10.0.0.1", main_process_port=29500)
    document = accelerate_document(spread, Plan(4, gpus=True, strategy="fsdp"))
    assert (document["num_processes"], document["num_machines"], document["machine_rank"]) == (4, 2, 1)
    assert (document["main_process_ip"], document["main_process_port"]) == ("10.0.0.1", 29500)
    assert document["distributed_type"] == "FSDP"
    assert document["fsdp_config"]["fsdp_version"] == 2


def test_processes_on_cpus(tmp_path: Path, monkeypatch):
    """With use_cpu accelerate would start them apart from each other."""
    for name in ("ACCELERATE_USE_CPU", "OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    write_launch(job(folder=str(tmp_path), device="cpu", processes=2, strategy="ddp"))
    document = yaml.safe_load((tmp_path / "accelerate.yaml").read_text())
    assert (document["num_processes"], document["use_cpu"], document["distributed_type"]) == (2, False, "MULTI_GPU")
    assert "fsdp_config" not in document
    assert os.environ["ACCELERATE_USE_CPU"] == "true"
    assert os.environ["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))


def test_the_command_line_names_worker_and_files(tmp_path: Path):
    line = command_line(job(folder=str(tmp_path), device="cpu"))
    assert line == (
        f"ACCELERATE_USE_CPU=true accelerate launch --config_file {tmp_path}/accelerate.yaml "
        f"-m some.worker {tmp_path}/config.yaml"
    )
    assert yaml.safe_load((tmp_path / "accelerate.yaml").read_text())["use_cpu"] is True
