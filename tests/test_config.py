"""Options: one place for defaults, flags over the file over defaults, every fault at once."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from embedctl import config as configs
from embedctl.config import (
    TINY_OPTIM,
    Command,
    EncodeConfig,
    EvalConfig,
    MineConfig,
    SearchConfig,
    Section,
    Strings,
    TrainConfig,
    ValidateConfig,
    commented,
    dump,
    flag_of,
    leaves,
    load,
    option,
    shown_as,
    with_model_defaults,
)
from embedctl.config.__main__ import write
from embedctl.errors import ConfigError
from embedctl.resources import config_file

COMMANDS = Command.__subclasses__()


@pytest.fixture
def written(tmp_path: Path):
    """Writes a YAML file of a document and gives its path."""

    def write(document: object) -> str:
        path = tmp_path / "own.yaml"
        path.write_text(document if isinstance(document, str) else yaml.safe_dump(document), encoding="utf-8")
        return str(path)

    return write


def faults(config: type[Command], file: str | None, flags: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as wrong:
        load(config, file, flags)
    return sorted(line.strip() for line in wrong.value.message.splitlines())


def test_the_defaults_users_of_the_field_expect():
    config = TrainConfig()
    optim, data, text = config.optim, config.data, config.text
    assert (optim.batch_size, optim.lr, optim.epochs, optim.warmup_proportion) == (32, 2e-5, 2, 0.1)
    assert (data.neg_nums, config.loss.temperature) == (15, 0.02)
    assert (text.query_max_len, text.passage_max_len) == (128, 512)
    assert (config.run.output_dir, config.run.log_with, config.model.model_name_or_path) == ("out", "none", "tiny")


def test_flags_beat_the_file_and_the_file_beats_defaults(written):
    file = written({"optim": {"lr": 0.001, "epochs": 7}, "loss": {"temperature": 0.05}})
    config = load(TrainConfig, file, {"lr": "0.003"})
    assert (config.optim.lr, config.optim.epochs, config.loss.temperature) == (0.003, 7, 0.05)
    assert config.optim.batch_size == 32


def test_a_flag_can_undo_a_switch_of_the_file(written):
    file = written({"run": {"overwrite": True, "save_on_epoch_end": True}})
    config = load(TrainConfig, file, {"overwrite": False})
    assert (config.run.overwrite, config.run.save_on_epoch_end) == (False, True)


def test_every_fault_is_listed_at_once(written):
    file = written({"optim": {"lr": -1, "speed": 3}, "nonsense": 1, "loss": {"in_batch": "some"}})
    listed = faults(TrainConfig, file, {"batch_size": "0", "neg_nums": "many"})
    assert len(listed) == 6
    assert listed[0].startswith("--batch-size: ")
    assert listed[0].endswith("not '0'")
    assert listed[1].startswith("--neg-nums: ")
    assert [line.split(": ")[1] for line in listed[2:]] == ["loss.in_batch", "nonsense", "optim.lr", "optim.speed"]
    assert listed[3].endswith("unknown key")
    assert all(file in line for line in listed[2:])


@pytest.mark.parametrize(
    ("config", "flags"),
    [
        (TrainConfig, {"temperature": "0"}),
        (TrainConfig, {"temperature": "nan"}),
        (TrainConfig, {"warmup_proportion": "1.5"}),
        (TrainConfig, {"mixed_precision": "fp8"}),
        (TrainConfig, {"mrl_dims": ["64,big"]}),
        (TrainConfig, {"num_machines": "2"}),
        (TrainConfig, {"machine_rank": "1"}),
        (EncodeConfig, {"dim": "-3"}),
        (MineConfig, {"range": "10"}),
        (EvalConfig, {"corpus": "c.jsonl"}),
        (EvalConfig, {"dataset": ["d"], "corpus": "c", "queries": "q", "qrels": "r"}),
    ],
)
def test_values_out_of_bounds(config, flags):
    assert len(faults(config, None, flags)) == 1


def test_lists_may_be_repeated_or_split_by_commas():
    assert load(TrainConfig, None, {"mrl_dims": ["64,128", "256"]}).loss.mrl_dims == (64, 128, 256)
    assert load(TrainConfig, None, {"dataset": ["a.json", "b.json:2"]}).data.dataset == ("a.json", "b.json:2")


@pytest.mark.parametrize("text", ["", "# nothing but words\n", "optim:\n  # lr: 1\n"])
def test_an_empty_file_is_all_defaults(written, text):
    assert load(TrainConfig, written(text)) == TrainConfig()
    assert load(TrainConfig, written(text), {"lr": "0.1"}).optim.lr == 0.1


@pytest.mark.parametrize("text", ["- a list", "a: [unclosed", "just words"])
def test_files_that_are_no_mapping(written, text):
    with pytest.raises(ConfigError, match="--config"):
        load(TrainConfig, written(text))


def test_a_section_that_is_no_mapping(written):
    assert len(faults(TrainConfig, written({"optim": 3}), {})) == 1
    assert len(faults(TrainConfig, written({"optim": 3}), {"lr": "0.1"})) == 1


def test_a_file_that_is_not_utf8(tmp_path: Path):
    (tmp_path / "latin.yaml").write_bytes("run: {output_dir: caf\xe9}".encode("latin-1"))
    with pytest.raises(ConfigError, match="not YAML"):
        load(TrainConfig, str(tmp_path / "latin.yaml"))


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        load(TrainConfig, str(tmp_path / "none.yaml"))


def test_what_is_dumped_loads_back(written):
    config = load(
        TrainConfig, None, {"lr": "0.001", "dataset": ["学习.json"], "mrl_dims": ["64,32"], "overwrite": True}
    )
    assert load(TrainConfig, written(dump(config))) == config
    assert "学习" in dump(config)


def test_a_configuration_can_not_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().optim.lr = 1.0  # type: ignore[misc]


def test_the_built_in_model_brings_its_own_optimisation_where_the_user_set_none():
    own = with_model_defaults(TrainConfig()).optim
    assert {name: getattr(own, name) for name in TINY_OPTIM} == TINY_OPTIM
    assert with_model_defaults(load(TrainConfig, None, {"lr": "0.1"})).optim.lr == 0.1
    assert with_model_defaults(load(TrainConfig, None, {"model_name_or_path": "m"})) == load(
        TrainConfig, None, {"model_name_or_path": "m"}
    )


def test_it_leaves_other_options_alone():
    asked = load(TrainConfig, None, {"seed": "7", "epochs": "1"})
    given = with_model_defaults(asked)
    assert (given.optim.seed, given.optim.epochs) == (7, 1)
    assert given.loss == asked.loss


@pytest.mark.parametrize("config", COMMANDS)
def test_every_option_has_words_a_panel_and_a_name_of_its_own(config):
    found = leaves(config)
    names = [path[-1] for path in found]
    assert len(names) == len(set(names))
    for path, field in found.items():
        assert field.description, path
        assert shown_as(field).panel, path
        assert not field.is_required(), path
    flags = [flag_of(name) for name in names]
    extra = [name for field in found.values() for name in shown_as(field).names]
    assert len(flags + extra) == len(set(flags + extra))


def test_leaves_walk_the_sections():
    found = leaves(TrainConfig)
    assert found["optim", "lr"].default == 2e-5
    assert ("quiet",) in found
    assert ("optim",) not in found
    assert ValidateConfig in COMMANDS
    assert not hasattr(configs, "torch")


SHIPPED = {
    "train": TrainConfig,
    "encode": EncodeConfig,
    "mine-negatives": MineConfig,
    "search": SearchConfig,
    "eval": EvalConfig,
    "validate-data": ValidateConfig,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_file_of_a_command_says_what_its_help_says(name):
    file = config_file(f"{name}.yaml")
    assert load(SHIPPED[name], str(file)) == SHIPPED[name]()
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if "  # " in line]
    told = {line.split(":")[0].strip(): line.split("  # ")[1] for line in lines}
    fields = {path[-1]: field for path, field in leaves(SHIPPED[name]).items()}
    assert told == {key: field.description for key, field in fields.items() if not shown_as(field).positional}


def test_the_shipped_files_are_those_that_the_options_give(tmp_path: Path):
    write(tmp_path)
    for name in SHIPPED:
        shipped = config_file(f"{name}.yaml").read_text(encoding="utf-8")
        assert (tmp_path / f"{name}.yaml").read_text(encoding="utf-8") == shipped, "run: python -m embedctl.config"
    assert not (tmp_path / "doctor.yaml").exists()


def test_a_commented_file_shows_every_kind_of_default():
    class Oven(Section):
        degrees: float = option(2e-5, "Heat", "how hot")

    class Bake(Command):
        name: ClassVar[str] = "bake"
        oven: Oven = Oven()
        files: Strings = option((), "Data", "recipes", positional="FILE...")
        sizes: Strings = option(("s", "m"), "Data", "small first")
        note: str = option("no: yes", "Data", "what to say")

    assert commented(Bake).split("\n\n")[1:] == [
        "oven:\n  degrees: 2.0e-05  # how hot",
        "json_output: false  # print one JSON document to stdout\n"
        "quiet: false  # print results and errors only\n"
        "sizes: [s, m]  # small first\n"
        "note: 'no: yes'  # what to say\n",
    ]


def test_a_file_that_is_not_yaml_is_named_with_its_line(written):
    file = written("run:\n  keep: [1\n")
    with pytest.raises(ConfigError, match=rf"{file}:3: not YAML") as wrong:
        load(TrainConfig, file)
    assert wrong.value.hint


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ({"neg_nums": 0}, "needs --neg-nums above 0"),
        ({"epochs": 1}, "raise --epochs"),
        ({"remine_range": "5-15"}, "--remine-range 5-15 holds 10 ranks, fewer than --neg-nums 15: e.g. .* 5-205"),
    ],
)
def test_a_run_that_mines_must_have_something_to_mine(flags, fault):
    with pytest.raises(ConfigError, match=fault):
        load(TrainConfig, None, {"remine_every_epoch": True} | flags)
    load(TrainConfig, None, flags)
