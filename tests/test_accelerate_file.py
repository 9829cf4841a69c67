"""Options of train from files of accelerate: each key is applied, has no effect or is refused."""

from __future__ import annotations

import pytest
import yaml

from embedctl.commands.flags import _resolve
from embedctl.config import TrainConfig
from embedctl.config.accelerate_file import FSDP_KEYS, KEYS, read_options
from embedctl.errors import ConfigError

# the file of RAG-Retrieval, which accelerate 0.2x wrote
SEED = """\
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
downcast_bf16: 'no'
fsdp_config:
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_backward_prefetch_policy: NO_PREFETCH
  fsdp_offload_params: false
  fsdp_sharding_strategy: 3
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_transformer_layer_cls_to_wrap: BertLayer
machine_rank: 0
main_training_function: main
mixed_precision: 'no'
num_machines: 1
num_processes: 6
rdzv_backend: static
same_network: true
tpu_env: []
tpu_use_cluster: false
tpu_use_sudo: false
use_cpu: false
"""
RECENT = """\
compute_environment: LOCAL_MACHINE
debug: false
distributed_type: FSDP
downcast_bf16: 'no'
enable_cpu_affinity: false
fsdp_config:
  fsdp_activation_checkpointing: true
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_cpu_ram_efficient_loading: true
  fsdp_offload_params: false
  fsdp_reshard_after_forward: false
  fsdp_state_dict_type: SHARDED_STATE_DICT
  fsdp_transformer_layer_cls_to_wrap: BertLayer,BertPooler
  fsdp_version: 2
machine_rank: 1
main_process_ip: 10.0.0.1
main_process_port: 29500
main_training_function: main
mixed_precision: bf16
num_machines: 2
num_processes: 16
"""


@pytest.fixture
def write(tmp_path):
    def _write(text: str) -> str:
        (tmp_path / "fsdp.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "fsdp.yaml")

    return _write


def test_the_file_of_rag_retrieval_copies_the_weights_to_each_process(write):
    """Its sharding strategy 3 is NO_SHARD."""
    expected = {"num_processes": 6, "num_machines": 1, "machine_rank": 0, "mixed_precision": "no", "strategy": "ddp"}
    assert read_options(write(SEED), {"strategy": "ddp", "num_processes": "6"}) == expected
    with pytest.raises(ConfigError, match=r"--strategy fsdp contradicts .*:8: fsdp_sharding_strategy: 3"):
        read_options(write(SEED), {"strategy": "fsdp"})


def test_a_file_of_fsdp2_with_two_machines(write):
    config = _resolve(TrainConfig, {"accelerate_config": write(RECENT), "main_process_port": "29500"})
    launch = config.launch
    assert (launch.num_processes, launch.num_machines, launch.machine_rank) == (16, 2, 1)
    assert (launch.main_process_ip, launch.main_process_port) == ("10.0.0.1", 29500)
    assert (launch.mixed_precision, launch.strategy, launch.cpu) == ("bf16", "fsdp", False)
    assert (launch.fsdp_reshard, launch.fsdp_layers) == (False, ("BertLayer", "BertPooler"))
    assert config.tune.gradient_checkpointing


@pytest.mark.parametrize(
    ("key", "value", "options"),
    [
        ("distributed_type", "MULTI_GPU", {"strategy": "ddp"}),
        ("distributed_type", "MULTI_CPU", {"strategy": "ddp", "cpu": True}),
        ("distributed_type", "NO", {"num_processes": 1}),
        ("use_cpu", True, {"cpu": True}),
        ("mixed_precision", False, {"mixed_precision": "no"}),  # an unquoted `no`
        ("main_process_port", 0, {"main_process_port": 0}),
        ("deepspeed_config", {}, {}),
        ("dynamo_backend", "NO", {}),
        ("gpu_ids", "all", {}),
        ("debug", False, {}),
        ("tpu_use_sudo", False, {}),
        ("fsdp_sharding_strategy", "SHARD_GRAD_OP", {"fsdp_reshard": False}),
        ("fsdp_sharding_strategy", 1, {"fsdp_reshard": True}),
        ("fsdp_reshard_after_forward", True, {"fsdp_reshard": True}),
        ("fsdp_backward_prefetch", "BACKWARD_PRE", {}),
        ("fsdp_use_orig_params", True, {}),
        ("fsdp_version", 1, {}),
    ],
)
def test_keys_that_are_applied(key, value, options):
    read, _hint = (KEYS | FSDP_KEYS)[key]
    assert read(value) == options


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("compute_environment", "AMAZON_SAGEMAKER"),
        ("distributed_type", "DEEPSPEED"),
        ("distributed_type", "XLA"),
        ("deepspeed_config", {"zero_stage": 3}),
        ("megatron_lm_config", {"tp": 2}),
        ("fp8_config", {"backend": "TE"}),
        ("dynamo_config", {"dynamo_backend": "INDUCTOR"}),
        ("mixed_precision", "fp8"),
        ("num_processes", "four"),
        ("num_processes", True),
        ("machine_rank", -1),
        ("gpu_ids", "0,1"),
        ("rdzv_backend", "c10d"),
        ("same_network", False),
        ("debug", True),
        ("downcast_bf16", True),
        ("tpu_use_cluster", True),
        ("no_such_key", 1),
        ("fsdp_version", 3),
        ("fsdp_sharding_strategy", "HYBRID_SHARD"),
        ("fsdp_sharding_strategy", 6),
        ("fsdp_state_dict_type", "LOCAL_STATE_DICT"),
        ("fsdp_auto_wrap_policy", "SIZE_BASED_WRAP"),
        ("fsdp_offload_params", True),
        ("fsdp_forward_prefetch", True),
        ("fsdp_transformer_layer_cls_to_wrap", 5),
    ],
)
def test_keys_that_are_refused_are_named_with_their_line(key, value, write):
    content = {"distributed_type": "FSDP"}
    (content.setdefault("fsdp_config", {}) if key.startswith("fsdp") else content)[key] = value
    file = write(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=f"fsdp.yaml:[1-4]: {key}: .* cannot be applied") as error:
        read_options(file, {})
    assert error.value.hint


def test_names_are_accepted_in_any_case(write):
    file = write("distributed_type: fsdp\nfsdp_config: {fsdp_reshard_after_forward: false}\n")
    assert read_options(file, {}) == {"strategy": "fsdp", "fsdp_reshard": False}


def test_keys_without_a_value_are_not_given(write):
    keys = dict.fromkeys(KEYS) | {"distributed_type": "FSDP", "fsdp_config": dict.fromkeys(FSDP_KEYS)}
    assert read_options(write(yaml.safe_dump(keys)), {}) == {"strategy": "fsdp"}
    assert read_options(write("distributed_type: MULTI_GPU\nfsdp_config:\n"), {}) == {"strategy": "ddp"}


def test_a_contradiction_names_the_option_as_it_is_given(write):
    file = write("distributed_type: FSDP\nuse_cpu: true\nfsdp_config: {fsdp_reshard_after_forward: true}\n")
    for name, flag in (("fsdp_reshard", "--no-fsdp-reshard"), ("cpu", "--no-cpu")):
        with pytest.raises(ConfigError, match=f"^{flag} contradicts {file}:\\d: ") as error:
            read_options(file, {name: False})
        assert error.value.hint.startswith(f"omit {flag},")


@pytest.mark.parametrize("processes", [1, 3])
def test_every_machine_runs_the_same_number_of_processes(processes, write, tmp_path):
    problem = f"--num-processes {processes} for --num-machines 2: every machine runs the same number of processes"
    given = {"num_machines": 2, "main_process_ip": "10.0.0.1", "main_process_port": 29500}
    file = write(yaml.safe_dump({"distributed_type": "FSDP", "num_processes": processes, **given}))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"launch": {"num_processes": processes, **given}}))
    flags = {name: str(value) for name, value in given.items()}
    for values in (
        {"accelerate_config": file},
        {"config_file": str(tmp_path / "own.yaml")},
        {"num_processes": str(processes), **flags},
    ):
        with pytest.raises(ConfigError, match=problem):
            _resolve(TrainConfig, values)
    assert _resolve(TrainConfig, {"num_processes": "4", **flags}).launch.num_processes == 4
    assert _resolve(TrainConfig, flags).launch.num_processes is None


def test_a_key_that_contradicts_an_option_is_refused(write):
    file = write(RECENT)
    for flags in ({"num_processes": "8"}, {"strategy": "ddp"}, {"fsdp_layers": ["BertLayer"]}, {"fsdp_reshard": True}):
        (name,) = flags
        with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} .*contradicts {file}:\\d+: ") as error:
            _resolve(TrainConfig, {"accelerate_config": file, **flags})
        assert error.value.hint.startswith(f"omit --{name.replace('_', '-')}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("distributed_type: 'NO'\nnum_processes: 2\n", "contradicts another key of the file"),
        (
            "distributed_type: MULTI_GPU\nfsdp_config: {fsdp_version: 2}\n",
            "fsdp.yaml:2: fsdp_config: the section has no",
        ),
        ("fsdp_config: {fsdp_version: 2}\ndistributed_type: DEEPSPEED\n", "fsdp.yaml:2: distributed_type: DEEPSPEED"),
        ("distributed_type: FSDP\nfsdp_config: 0\n", "fsdp.yaml:2: fsdp_config: 0 is not a section of keys"),
        ("distributed_type: FSDP\nfsdp_config: [a]\n", r"fsdp.yaml:2: fsdp_config: \['a'\] is not a section of keys"),
        ("distributed_type: null\n", "fsdp.yaml:1: distributed_type: None cannot be applied"),
        ("distributed_type: FSDP\nno_such_key: null\n", "fsdp.yaml:2: no_such_key: None cannot be applied"),
        ("lr: 0.1\n", "no configuration of accelerate"),
        ("a: [\n", "not YAML"),
        ("distributed_type: FSDP\nnum_processes: 2\nnum_processes: 4\n", "num_processes is given twice"),
    ],
)
def test_damaged_files_are_refused(text, problem, write):
    with pytest.raises(ConfigError, match=problem):
        read_options(write(text), {})
    with pytest.raises(ConfigError, match=r"--accelerate-config: nowhere\.yaml: No such file"):
        read_options("nowhere.yaml", {})


def test_the_file_overrides_config_and_is_not_needed_to_resume(write, tmp_path):
    (tmp_path / "own.yaml").write_text("launch: {num_processes: 3}\noptim: {epochs: 7}\n")
    given = {"accelerate_config": write(SEED), "config_file": str(tmp_path / "own.yaml")}
    config = _resolve(TrainConfig, given)
    assert (config.launch.num_processes, config.optim.epochs) == (6, 7)
    assert "accelerate_config" not in config.launch.model_dump()
