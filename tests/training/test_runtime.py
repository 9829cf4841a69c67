"""How a worker joins the others: the strategy is the run's, whoever started the worker and whatever accelerate has."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from embedctl.errors import ConfigError
from embedctl.training import runtime
from embedctl.training.runtime import pick_precision

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

JOIN = """
import json, sys
import accelerate.state
from types import SimpleNamespace
from embedctl.config import TrainConfig, load
from embedctl.errors import ConfigError
from embedctl.training import runtime
from embedctl.training.job import TrainJob

strategy, fault = sys.argv[1:]
if fault == "no shared state":
    accelerate.state.AcceleratorState = SimpleNamespace()
elif fault == "no fsdp2":
    accelerate.Accelerator.is_fsdp2 = False
try:
    here = runtime.join(TrainJob.of(load(TrainConfig, None, {"strategy": strategy, "cpu": True})))
except ConfigError as mistake:
    print(json.dumps([mistake.message]))
else:
    state = here.accelerator
    print(json.dumps([here.strategy, here.reason, str(state.distributed_type.value), str(state.device.type)]))
"""


def start(strategy: str, fault: str = "", **environment: str) -> list[subprocess.Popen[str]]:
    """Two workers that a scheduler starts without accelerate's launcher."""
    common = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "FSDP_"))}
    common |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(runs.free_port())}
    return [
        subprocess.Popen(
            [sys.executable, "-c", JOIN, strategy, fault],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


Started = dict[str, tuple[list[list[str]], str]]


@pytest.fixture(scope="module")
def started() -> Started:
    """What both workers of each case say, and their messages; all run at once, as most of their time is imports."""
    cases = {
        "fsdp": start("fsdp"),
        "ddp": start("ddp", ACCELERATE_USE_FSDP="true"),
        "no shared state": start("fsdp", "no shared state"),
        "no fsdp2": start("fsdp", "no fsdp2"),
    }
    found: Started = {}
    for case, workers in cases.items():
        ended = [worker.communicate(timeout=120) for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], ended
        found[case] = [json.loads(said.splitlines()[-1]) for said, _ in ended], "".join(told for _, told in ended)
    return found


@pytest.mark.parametrize(("strategy", "kind"), [("fsdp", "FSDP"), ("ddp", "MULTI_CPU")])
def test_the_configuration_decides_and_not_the_environment(started, strategy, kind):
    said, told = started[strategy]
    assert said == [[strategy, "as asked", kind, "cpu"]] * 2
    assert "warning" not in told


@pytest.mark.parametrize("fault", ["no shared state", "no fsdp2"])
def test_an_accelerate_without_what_fsdp_on_cpus_needs_gives_ddp_with_one_line(started, fault):
    said, told = started[fault]
    reason = "this version of accelerate can't use fsdp on CPUs"
    assert said == [["ddp", reason, "MULTI_CPU", "cpu"]] * 2
    assert told.count(f"warning: --strategy fsdp: {reason}; the run uses ddp\n") == 1


@pytest.mark.parametrize(
    ("found", "strategy"),
    [("NO", "none"), ("MULTI_GPU", "ddp"), ("MULTI_CPU", "ddp"), ("FSDP", "fsdp"), ("DEEPSPEED", "DEEPSPEED")],
)
def test_another_strategy_of_accelerate_is_refused(found, strategy):
    accelerator = SimpleNamespace(distributed_type=SimpleNamespace(value=found))
    for chosen in ("none", "ddp", "fsdp"):
        if chosen == strategy:
            runtime._expect_strategy(accelerator, chosen)
            continue
        with pytest.raises(ConfigError, match=f"accelerate was started for {found}, .* is {chosen}"):
            runtime._expect_strategy(accelerator, chosen)


def test_precision_on_a_cpu():
    cpu = torch.device("cpu")
    assert pick_precision("auto", cpu) == pick_precision("no", cpu) == torch.float32
    assert pick_precision("bf16", cpu) == torch.bfloat16
    with pytest.raises(ConfigError, match="needs a GPU"):
        pick_precision("fp16", cpu)
