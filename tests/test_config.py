"""Options: defaults, precedence of file and command line, and error messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import yaml
from pydantic import ValidationError

from embedctl import config as configs
from embedctl.commands.help import OUTPUT, PANELS
from embedctl.config import (
    Command,
    DoctorConfig,
    EncodeConfig,
    EvalConfig,
    MineConfig,
    SearchConfig,
    Section,
    Strings,
    TrainConfig,
    ValidateConfig,
    cli_option,
    commented_yaml,
    description,
    dump,
    flag_of,
    load,
    option,
    option_fields,
)
from embedctl.config.__main__ import write
from embedctl.config.expected import EXPECTED, UNKNOWN_KEY
from embedctl.config.training import TINY_OPTIM
from embedctl.errors import ConfigError
from embedctl.resources import config_file

COMMANDS = [kind for kind in Command.__subclasses__() if kind.__module__.startswith("embedctl.")]


@pytest.fixture
def write_yaml(tmp_path: Path):
    """Return a function that writes content to a YAML file and returns its path."""

    def write(content: object) -> str:
        path = tmp_path / "own.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        return str(path)

    return write


def errors_of(config_type: type[Command], file: str | None, flags: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(config_type, file, flags)
    return sorted(line.strip() for line in error.value.message.splitlines())


def test_defaults_of_train():
    config = TrainConfig()
    optim, data, text = config.optim, config.data, config.text
    assert (optim.batch_size, optim.lr, optim.epochs, optim.warmup_proportion) == (32, 2e-5, 2, 0.1)
    assert (data.neg_nums, config.loss.temperature) == (15, 0.02)
    assert (text.query_max_len, text.passage_max_len) == (None, None)  # they depend on the model
    assert (config.run.output_dir, config.run.log_with, config.model.model_name_or_path) == ("out", "none", "tiny")


def test_flags_override_the_file_and_the_file_overrides_defaults(write_yaml):
    file = write_yaml({"optim": {"lr": 0.001, "epochs": 7}, "loss": {"temperature": 0.05}})
    config = load(TrainConfig, file, {"lr": "0.003"})
    assert (config.optim.lr, config.optim.epochs, config.loss.temperature) == (0.003, 7, 0.05)
    assert config.optim.batch_size == 32


def test_a_flag_switches_off_an_option_of_the_file(write_yaml):
    file = write_yaml({"run": {"overwrite": True, "save_on_epoch_end": True}})
    config = load(TrainConfig, file, {"overwrite": False})
    assert (config.run.overwrite, config.run.save_on_epoch_end) == (False, True)


def test_all_errors_are_listed(write_yaml):
    file = write_yaml({"optim": {"lr": -1, "speed": 3}, "nonsense": 1, "loss": {"in_batch": "some"}})
    listed = errors_of(TrainConfig, file, {"batch_size": "0", "neg_nums": "many"})
    assert len(listed) == 6
    assert listed[0].startswith("--batch-size: ")
    assert listed[0].endswith("not '0'")
    assert listed[1].startswith("--neg-nums: ")
    assert [line.split(": ")[1] for line in listed[2:]] == ["loss.in_batch", "nonsense", "optim.lr", "optim.speed"]
    assert listed[3].endswith("unknown key")
    assert all(file in line for line in listed[2:])


@pytest.mark.parametrize(
    ("config_type", "flags"),
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
def test_invalid_values_are_errors(config_type, flags):
    assert len(errors_of(config_type, None, flags)) == 1


@pytest.mark.parametrize(
    ("config", "content", "message"),
    [
        (TrainConfig, {"optim": {"lr": "fast"}}, "optim.lr: expected a number, not 'fast'"),
        (TrainConfig, {"optim": {"lr": [1]}}, "optim.lr: expected a number, not [1]"),
        (TrainConfig, {"optim": {"lr": 0}}, "optim.lr: expected a number above 0, not 0"),
        (TrainConfig, {"optim": {"lr": float("inf")}}, "optim.lr: expected a finite number, not inf"),
        (TrainConfig, {"optim": {"epochs": 1.5}}, "optim.epochs: expected an integer, not 1.5"),
        (TrainConfig, {"optim": {"epochs": "many"}}, "optim.epochs: expected an integer, not 'many'"),
        (TrainConfig, {"optim": {"epochs": None}}, "optim.epochs: expected an integer, not null"),
        (TrainConfig, {"optim": {"seed": -1}}, "optim.seed: expected a number of at least 0, not -1"),
        (
            TrainConfig,
            {"optim": {"warmup_proportion": 2}},
            "optim.warmup_proportion: expected a number of at most 1, not 2",
        ),
        (TrainConfig, {"run": {"overwrite": "maybe"}}, "run.overwrite: expected true or false, not 'maybe'"),
        (TrainConfig, {"run": {"overwrite": [1]}}, "run.overwrite: expected true or false, not [1]"),
        (
            TrainConfig,
            {"run": {"output_dir": 5}},
            "run.output_dir: expected text, not 5; in YAML, write the value in quotes",
        ),
        (TrainConfig, {"run": {"output_dir": ""}}, "run.output_dir: expected text, not ''"),
        (
            TrainConfig,
            {"data": {"dataset": 5}},
            "data.dataset: expected text, not 5; in YAML, write the value in quotes",
        ),
        (TrainConfig, {"loss": {"mrl_dims": [64, "big"]}}, "loss.mrl_dims: expected an integer, not 'big'"),
        (TrainConfig, {"loss": {"distill": "mse"}}, "loss.distill: expected kl or margin-mse, not 'mse'"),
        (
            TrainConfig,
            {"launch": {"mixed_precision": False}},
            "launch.mixed_precision: expected auto, no, bf16 or fp16, not false; in YAML, write the value in quotes",
        ),
        (TrainConfig, {"optim": 3}, "optim: expected a section with keys and values, not 3"),
        (TrainConfig, {"optim": {"speed": 3}}, "optim.speed: unknown key"),
        (TrainConfig, {"optim": {"lr": True}}, "optim.lr: expected a number, not true"),
        (TrainConfig, {"optim": {"seed": True}}, "optim.seed: expected an integer, not true"),
        (
            TrainConfig,
            {"optim": {"seed": 10**19}},
            f"optim.seed: expected an integer of at most 9223372036854775807, not {10**19}",
        ),
        (MineConfig, {"range": "10"}, "range: expected START-STOP, for example 10-210, not '10'"),
        (ValidateConfig, {"files": []}, "files: expected a list with at least one value, not []"),
    ],
)
def test_an_invalid_value_is_reported_with_what_is_expected(write_yaml, config, content, message):
    file = write_yaml(content)
    line = 1 + message.partition(":")[0].count(".")  # the key of a section is on the line below the section's
    assert errors_of(config, file, {}) == [f"{file}:{line}: {message}"]


def test_a_rule_about_several_options_is_printed_without_values():
    message = "--range 10-12 contains 2 positions, fewer than --neg-nums 5: use for example --range 10-210"
    errors = errors_of(MineConfig, None, {"range": "10-12", "neg_nums": "5"})
    assert errors == [f"{message}, or a lower --neg-nums"]


def test_every_type_of_error_that_an_option_can_cause_is_described():
    values = ["fast", "", 5, -1, 0.5, float("inf"), True, None, [], ["x"], [None], {"a": 1}, 10**30]
    for config in COMMANDS:
        for path in option_fields(config):
            for value in values:
                content: object = value
                for name in reversed(path):
                    content = {name: content}
                try:
                    config.model_validate(content)
                except ValidationError as invalid:
                    kinds = {error["type"] for error in invalid.errors()}
                    assert kinds <= {*EXPECTED, *UNKNOWN_KEY, "value_error"}, (path, value)


def test_lists_are_repeated_options_or_comma_separated():
    assert load(TrainConfig, None, {"mrl_dims": ["64,128", "256"]}).loss.mrl_dims == (64, 128, 256)
    assert load(TrainConfig, None, {"dataset": ["a.json", "b.json:2"]}).data.dataset == ("a.json", "b.json:2")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "optim:\n  # lr: 1\n"])
def test_an_empty_file_leaves_all_defaults(write_yaml, text):
    assert load(TrainConfig, write_yaml(text)) == TrainConfig()
    assert load(TrainConfig, write_yaml(text), {"lr": "0.1"}).optim.lr == 0.1


@pytest.mark.parametrize("text", ["- a list", "a: [unclosed", "only text"])
def test_a_file_without_a_mapping_is_an_error(write_yaml, text):
    with pytest.raises(ConfigError, match="--config"):
        load(TrainConfig, write_yaml(text))


def test_a_section_that_is_not_a_mapping_is_an_error(write_yaml):
    assert len(errors_of(TrainConfig, write_yaml({"optim": 3}), {})) == 1
    assert len(errors_of(TrainConfig, write_yaml({"optim": 3}), {"lr": "0.1"})) == 1


def test_a_file_that_is_not_utf8_is_an_error(tmp_path: Path):
    (tmp_path / "latin.yaml").write_bytes("run: {output_dir: caf\xe9}".encode("latin-1"))
    with pytest.raises(ConfigError, match="not YAML"):
        load(TrainConfig, str(tmp_path / "latin.yaml"))


def test_a_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        load(TrainConfig, str(tmp_path / "none.yaml"))


def test_dump_and_load_give_an_equal_configuration(write_yaml):
    config = load(
        TrainConfig, None, {"lr": "0.001", "dataset": ["学习.json"], "mrl_dims": ["64,32"], "overwrite": True}
    )
    assert load(TrainConfig, write_yaml(dump(config))) == config
    assert "学习" in dump(config)


def test_a_configuration_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().optim.lr = 1.0  # type: ignore[misc]


def test_the_built_in_model_has_its_own_defaults():
    optim = TrainConfig().with_model_defaults().optim
    assert {name: getattr(optim, name) for name in TINY_OPTIM} == TINY_OPTIM
    assert load(TrainConfig, None, {"lr": "0.1"}).with_model_defaults().optim.lr == 0.1
    other = load(TrainConfig, None, {"model_name_or_path": "m"})
    assert other.with_model_defaults() == other


def test_model_defaults_keep_the_options_of_the_user():
    config = load(TrainConfig, None, {"seed": "7", "epochs": "1"})
    resolved = config.with_model_defaults()
    assert (resolved.optim.seed, resolved.optim.epochs) == (7, 1)
    assert resolved.loss == config.loss


@pytest.mark.parametrize("config_type", COMMANDS)
def test_every_option_has_a_description_a_known_panel_and_unique_names(config_type):
    fields = option_fields(config_type)
    names = [path[-1] for path in fields]
    assert len(names) == len(set(names))
    for path, field in fields.items():
        assert description(field), path
        assert cli_option(field).panel in (*PANELS, OUTPUT), path
        assert not field.is_required(), path
    flags = [flag_of(name) for name in names]
    extra = [name for field in fields.values() for name in cli_option(field).names]
    assert len(flags + extra) == len(set(flags + extra))


@pytest.mark.parametrize("config_type", COMMANDS)
def test_the_description_of_an_option_that_may_be_unset_states_the_default(config_type):
    for path, field in option_fields(config_type).items():
        if field.default in (None, ()) and not cli_option(field).positional:
            assert re.search(r" \(default: [^()]+\)$", description(field)), path


@pytest.mark.parametrize("config_type", COMMANDS)
def test_the_main_options_exist(config_type):
    names = {path[-1] for path in option_fields(config_type)} - {path[-1] for path in option_fields(Command)}
    assert set(config_type.main_options) <= names
    assert len(set(config_type.main_options)) == min(5, len(names))


def test_option_fields_include_those_of_sections():
    fields = option_fields(TrainConfig)
    assert fields["optim", "lr"].default == 2e-5
    assert ("optim",) not in fields
    assert list(fields)[-2:] == [("json_output",), ("quiet",)]
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
def test_the_shipped_file_of_a_command_has_its_defaults_and_descriptions(name):
    file = config_file(f"{name}.yaml")
    assert load(SHIPPED[name], str(file)) == SHIPPED[name]()
    text = " ".join(file.read_text(encoding="utf-8").replace("# ", "").split())
    for path, field in option_fields(SHIPPED[name]).items():
        assert (f"{description(field)} " in text) != cli_option(field).positional, path


def test_the_shipped_yaml_files_are_up_to_date(tmp_path: Path):
    write(tmp_path)
    for name in SHIPPED:
        shipped = config_file(f"{name}.yaml").read_text(encoding="utf-8")
        assert (tmp_path / f"{name}.yaml").read_text(encoding="utf-8") == shipped, "run: python -m embedctl.config"
    assert not (tmp_path / "doctor.yaml").exists()


def test_commented_yaml():
    class Oven(Section):
        degrees: float = option(2e-5, "Heat")
        """temperature in degrees Celsius, very very very very very very very very very very very very very very very
        very exactly"""
        mode: Literal["fan", "grill"] = option("fan", "Heat")
        """heat source"""

    class Bake(Command):
        name: ClassVar[str] = "bake"
        oven: Oven = Oven()
        files: Strings = option((), "Data", metavar="FILE", positional=True)
        """recipes"""
        sizes: Strings = option(("s", "m"), "Data")
        """sizes, small ones first"""
        note: str = option("no: yes", "Data")
        """text of the note"""

    assert commented_yaml(Bake).split("\n\n")[1:] == [
        f"oven:\n  # temperature in degrees Celsius, {12 * 'very '}very\n  # very very very exactly\n"
        "  degrees: 2.0e-05\n  # heat source\n  # values: fan, grill\n  mode: fan",
        "# sizes, small ones first\nsizes: [s, m]\n"
        "# text of the note\nnote: 'no: yes'\n"
        "# print the result as one JSON object to stdout\njson_output: false\n"
        "# print only results, warnings and errors\nquiet: false\n",
    ]


def test_a_yaml_error_names_file_and_line(write_yaml):
    file = write_yaml("run:\n  keep: [1\n")
    with pytest.raises(ConfigError, match=rf"{file}:3: not YAML") as error:
        load(TrainConfig, file)
    assert str(config_file("train.yaml")) in error.value.hint


def test_the_hint_for_a_command_without_a_shipped_file_names_its_help(write_yaml):
    with pytest.raises(ConfigError, match="expected sections with keys and values") as error:
        load(DoctorConfig, write_yaml("- a list"))
    assert "`embedctl doctor --help`" in error.value.hint


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"neg_nums": 0}, "requires --neg-nums above 0"),
        ({"epochs": 1}, "use --epochs 2 or more"),
        ({"remine_range": "5-15"}, "--remine-range 5-15 contains 10 positions, fewer than --neg-nums 15: .* 5-205"),
    ],
)
def test_mining_during_training_needs_negatives_epochs_and_positions(flags, message):
    with pytest.raises(ConfigError, match=message):
        load(TrainConfig, None, {"remine_every_epoch": True} | flags)
    load(TrainConfig, None, {name: value for name, value in flags.items() if name != "remine_range"})


def test_a_truncated_configuration_of_a_run_is_refused(tmp_path):
    """A cut file would otherwise be read as a configuration with default values."""
    text = dump(TrainConfig.model_validate({"optim": {"lr": 0.123}}))
    file = tmp_path / "config.yaml"
    file.write_text(text)
    flags = {"resume": str(tmp_path)}
    whole = load(TrainConfig, TrainConfig.implied_config(flags)[0])
    for length in range(len(text) - len("false\n") + 1):  # `f` is also read as false
        file.write_text(text[:length])
        with pytest.raises(ConfigError):
            load(TrainConfig, TrainConfig.implied_config(flags)[0])
    assert whole.optim.lr == 0.123


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("optim:\n  seed: " + "9" * 5000, r"own\.yaml:2: not YAML: 9+\.\.\. is not a number"),
        ("optim:\n\n  seed: 2024-99-99", r"own\.yaml:3: optim\.seed: expected an integer"),
        ("[" * 5000, r"own\.yaml:1: not YAML: more than 20 nested levels"),
    ],
)
def test_values_that_python_does_not_accept_are_errors_of_the_file(content, message, tmp_path):
    (tmp_path / "own.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load(TrainConfig, str(tmp_path / "own.yaml"))


def test_the_hint_of_an_unknown_key_names_the_file_with_all_keys(write_yaml):
    for config, content in ((TrainConfig, {"optim": {"speed": 3}}), (MineConfig, {"nonsense": 1})):
        with pytest.raises(ConfigError) as error:
            load(config, write_yaml(content))
        name = error.value.hint.removeprefix("compare it with ").removesuffix(", which lists all keys")
        assert Path(name).name == f"{config.name}.yaml"
        assert Path(name).is_file()
