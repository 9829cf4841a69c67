"""Strategy and precision of a worker, also if accelerate's environment or version does not match."""

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
from embedctl.training.runtime import choose_precision

SPEC = importlib.util.spec_from_file_location("runs", Path(__file__).with_name("runs.py"))
runs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(runs)

JOIN = """
import json, sys
import accelerate.state
from types import SimpleNamespace
from embedctl.config import TrainConfig, load
from embedctl.distributed.ranks import barrier
from embedctl.errors import ConfigError
from embedctl.training.job import TrainJob
from embedctl.training.runtime import init_runtime

strategy, fault = sys.argv[1:]
if fault == "no shared state":
    accelerate.state.AcceleratorState = SimpleNamespace()
elif fault == "no fsdp2":
    accelerate.Accelerator.is_fsdp2 = False
try:
    runtime = init_runtime(TrainJob.from_config(load(TrainConfig, None, {"strategy": strategy, "cpu": True})))
except ConfigError as error:
    print(json.dumps([error.message]))
else:
    state = runtime.accelerator
    print(json.dumps([runtime.strategy, runtime.reason, str(state.distributed_type.value), str(state.device.type)]))
barrier()  # a rank that exits while the other one still connects to it would leave that one waiting for ever
"""


def start(strategy: str, fault: str = "", **environment: str) -> list[subprocess.Popen[str]]:
    """Start two workers as a scheduler does, without accelerate's launcher."""
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
    """Output and messages of both workers of each case; all cases run at once, because imports take most time."""
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
        found[case] = [json.loads(output.splitlines()[-1]) for output, _ in ended], "".join(log for _, log in ended)
    return found


@pytest.mark.parametrize(("strategy", "kind"), [("fsdp", "FSDP"), ("ddp", "MULTI_CPU")])
def test_strategy_of_the_configuration_overrides_the_environment(started, strategy, kind):
    output, messages = started[strategy]
    assert output == [[strategy, "set by --strategy", kind, "cpu"]] * 2
    assert "warning" not in messages


@pytest.mark.parametrize("fault", ["no shared state", "no fsdp2"])
def test_ddp_is_used_with_a_warning_if_accelerate_does_not_support_fsdp_on_cpus(started, fault):
    output, messages = started[fault]
    reason = "this version of accelerate does not support fsdp on CPUs"
    assert output == [["ddp", reason, "MULTI_CPU", "cpu"]] * 2
    assert messages.count(f"warning: --strategy fsdp: {reason}; the run uses ddp\n") == 1


@pytest.mark.parametrize(
    ("found", "strategy"),
    [("NO", "none"), ("MULTI_GPU", "ddp"), ("MULTI_CPU", "ddp"), ("FSDP", "fsdp"), ("DEEPSPEED", "DEEPSPEED")],
)
def test_other_strategy_of_accelerate_is_an_error(found, strategy):
    accelerator = SimpleNamespace(distributed_type=SimpleNamespace(value=found))
    for chosen in ("none", "ddp", "fsdp"):
        if chosen == strategy:
            runtime._check_strategy(accelerator, chosen)
            continue
        with pytest.raises(ConfigError, match=f"accelerate was started for {found}, but .* is {chosen}"):
            runtime._check_strategy(accelerator, chosen)


def test_precision_on_a_cpu():
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) == choose_precision("no", cpu) == torch.float32
    assert choose_precision("bf16", cpu) == torch.bfloat16
    with pytest.raises(ConfigError, match="a GPU is required"):
        choose_precision("fp16", cpu)
