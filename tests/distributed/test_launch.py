"""The configuration of accelerate and the strategy of a job."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest
import torch
import yaml

from embedctl.distributed.launch import (
    LaunchJob,
    LaunchPlan,
    accelerate_config,
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
    ("requested", "processes", "size", "strategy", "reason"),
    [
        ("fsdp", 1, None, "none", "one process"),
        ("ddp", 2, 100 << 30, "ddp", "set by --strategy"),
        ("fsdp", 2, 1, "fsdp", "set by --strategy"),
        ("auto", 2, None, "fsdp", "the size of the model is unknown"),
        ("auto", 2, 1 << 29, "ddp", "512 MiB of weights fit into each process"),
        ("auto", 2, 1 << 30, "fsdp", "1,024 MiB of weights are sharded"),
    ],
)
def test_strategy_depends_on_processes_and_model_size(requested, processes, size, strategy, reason):
    chosen, explanation = choose_strategy(requested, processes, size)
    assert chosen == strategy
    assert explanation.startswith(reason)


@pytest.mark.usefixtures("two_gpus")
def test_default_is_one_process_per_gpu_of_all_machines():
    assert LaunchPlan.from_job(job(weight_bytes=1)) == LaunchPlan(2, uses_gpus=True, strategy="ddp")
    assert LaunchPlan.from_job(job(machines=3)) == LaunchPlan(6, uses_gpus=True, strategy="fsdp")
    assert LaunchPlan.from_job(job(device="cpu")) == LaunchPlan(1, uses_gpus=False, strategy="none")
    plan = LaunchPlan.from_job(job(device="cpu", processes=5, strategy="fsdp"))
    assert plan == LaunchPlan(5, uses_gpus=False, strategy="fsdp")


@pytest.mark.usefixtures("two_gpus")
def test_more_processes_than_gpus_are_refused():
    with pytest.raises(ConfigError, match="--num-processes 3: this machine has only 2 GPUs") as error:
        LaunchPlan.from_job(job(processes=3))
    assert error.value.hint == "use --num-processes 2, or --cpu"
    assert LaunchPlan.from_job(job(processes=4, machines=2)).processes == 4
    with pytest.raises(ConfigError, match="only 2 GPUs, so 2 such machines can run 4 processes"):
        LaunchPlan.from_job(job(processes=5, machines=2))


def test_accelerate_config_describes_several_machines():
    two_machines = job(machines=2, machine_rank=1, main_process_ip="10.0.0.1", main_process_port=29500)
    config = accelerate_config(two_machines, LaunchPlan(4, uses_gpus=True, strategy="fsdp"))
    assert (config["num_processes"], config["num_machines"], config["machine_rank"]) == (4, 2, 1)
    assert (config["main_process_ip"], config["main_process_port"]) == ("10.0.0.1", 29500)
    assert config["distributed_type"] == "FSDP"
    assert config["fsdp_config"]["fsdp_version"] == 2


def test_accelerate_config_contains_the_settings_of_fsdp():
    plan = LaunchPlan(4, uses_gpus=True, strategy="fsdp")
    default = accelerate_config(job(), plan)["fsdp_config"]
    assert default["fsdp_reshard_after_forward"] is True
    assert "fsdp_transformer_layer_cls_to_wrap" not in default
    fsdp = accelerate_config(job(fsdp_reshard=False, fsdp_layers=["A", "B"]), plan)["fsdp_config"]
    assert (fsdp["fsdp_reshard_after_forward"], fsdp["fsdp_transformer_layer_cls_to_wrap"]) == (False, "A,B")


def test_use_cpu_is_not_set_for_several_processes_on_cpus(tmp_path: Path, monkeypatch):
    """With use_cpu, accelerate would start independent runs of one process each."""
    for name in ("ACCELERATE_USE_CPU", "OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    write_launch(job(folder=str(tmp_path), device="cpu", processes=2, strategy="ddp"))
    config = yaml.safe_load((tmp_path / "accelerate.yaml").read_text())
    assert (config["num_processes"], config["use_cpu"], config["distributed_type"]) == (2, False, "MULTI_GPU")
    assert "fsdp_config" not in config
    assert os.environ["ACCELERATE_USE_CPU"] == "true"
    assert os.environ["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))


def test_command_line_contains_worker_and_files(tmp_path: Path, monkeypatch):
    folder = tmp_path / "it's a run & more"
    folder.mkdir()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr("shutil.which", lambda name: str(Path(sys.executable).with_name(name)))
    words = shlex.split(command_line(job(folder=str(folder), device="cpu")))
    assert words[:4] == ["ACCELERATE_USE_CPU=true", "OMP_NUM_THREADS=3", "accelerate", "launch"]
    assert words[4:] == ["--config_file", f"{folder}/accelerate.yaml", "-m", "some.worker", f"{folder}/config.yaml"]
    assert yaml.safe_load((folder / "accelerate.yaml").read_text())["use_cpu"] is True


@pytest.mark.usefixtures("two_gpus")
def test_command_line_on_gpus_leaves_the_number_of_threads_to_the_launcher(tmp_path: Path):
    assert "OMP_NUM_THREADS" not in command_line(job(folder=str(tmp_path)))


@pytest.mark.parametrize("found", [None, "/somewhere/else/accelerate"])
def test_command_line_names_this_python_if_the_shell_finds_another_launcher(found, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: found)
    words = shlex.split(command_line(job(folder=str(tmp_path), device="cpu")))
    assert words[2:5] == [sys.executable, "-m", "accelerate.commands.launch"]


def test_variables_of_another_job_do_not_reach_the_workers(tmp_path: Path, monkeypatch):
    left = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "PMI_SIZE")
    for name in left:
        monkeypatch.setenv(name, "3")
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "5")
    write_launch(job(folder=str(tmp_path), device="cpu"))
    assert not set(left) & set(os.environ)
    assert os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "5"


def test_an_invalid_number_of_threads_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    with pytest.raises(ConfigError, match="OMP_NUM_THREADS=4,2: an integer is expected"):
        write_launch(job(folder=str(tmp_path), device="cpu"))


def test_the_printed_command_quotes_the_names_of_folders(tmp_path: Path):
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    words = shlex.split(command_line(job(folder=str(folder), device="cpu")))
    assert words[-1] == f"{folder}/config.yaml"
    assert f"{folder}/accelerate.yaml" in words
