"""No Python code of a model runs without --trust-remote-code, and no question is read from standard input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import embedctl

CODE = """
import os
from pathlib import Path
Path(os.environ["EMBEDCTL_TEST_MARKER"]).write_text("the code of the model ran")
from sentence_transformers.sentence_transformer.modules import Normalize
from transformers import BertConfig, BertModel, BertTokenizer
class Config(BertConfig):
    model_type = "foreign"
class Model(BertModel):
    config_class = Config
class Tokenizer(BertTokenizer):
    pass
class Module(Normalize):
    pass
"""


def edit(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def code_in_config(folder: Path) -> None:
    edit(folder / "config.json", model_type="foreign", auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})


def code_in_plain_config(folder: Path) -> None:
    (folder / "modules.json").unlink()
    code_in_config(folder)


def code_in_tokenizer(folder: Path) -> None:
    auto_map = {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]}
    edit(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=auto_map)


def code_in_processor(folder: Path) -> None:
    edit(folder / "processor_config.json", processor_class="Own", auto_map={"AutoProcessor": "own.Tokenizer"})
    auto_map = {"AutoImageProcessor": "own.Module"}
    edit(folder / "preprocessor_config.json", image_processor_type="Own", auto_map=auto_map)


def code_in_module(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["type"] = "own.Module"
    (folder / "modules.json").write_text(json.dumps(modules))


def code_in_config_of_a_known_type(folder: Path) -> None:
    """transformers would load its own BERT, with weights that are not those of the model."""
    edit(folder / "config.json", auto_map={"AutoModel": "own.Model"})


WAYS = (
    code_in_config,
    code_in_plain_config,
    code_in_config_of_a_known_type,
    code_in_tokenizer,
    code_in_processor,
    code_in_module,
)
COMMANDS = {
    "validate-data": "validate-data {rows} --model {foreign}",
    "mine-negatives": "mine-negatives --model {foreign} --dataset {rows} -o m.jsonl --range 0-9 --neg-nums 1",
    "reranker": "mine-negatives --model {model} --rerank-with {foreign} --dataset {rows} -o m.jsonl --range 0-9 "
    "--neg-nums 1 --no-cache",
    "train": "train --model {foreign} --dataset {rows} --max-steps 1 --cpu -o out",
    "encode": "encode --ckpt {foreign} -i - -o v.npy",
    "eval": "eval --ckpt {foreign} --dataset {rows}",
    "baseline": "eval --ckpt {model} --baseline {foreign} --dataset {rows}",
    "search": "search --index index.npy --model {foreign} river",
}


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def foreign(request: pytest.FixtureRequest, tiny_model: str, tmp_path: Path) -> Path:
    folder = tmp_path / "foreign"
    shutil.copytree(tiny_model, folder)
    (folder / "own.py").write_text(CODE)
    request.param(folder)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_no_code_runs_whatever_standard_input_contains(name, foreign, inputs, server, marker, tmp_path):
    if name == "search":
        indexed = server.run(
            *f"encode --ckpt {inputs['model']} -i {inputs['texts']} -o index.npy --index flat".split(), folder=tmp_path
        )
        assert indexed.code == 0, indexed.stderr
    values = inputs | {"foreign": str(foreign)}
    arguments = [part.format(**values) for part in COMMANDS[name].split()]
    ended = server.run(*arguments, folder=tmp_path, stdin="y\n" * 50)
    assert not marker.exists(), ended.stderr
    assert "[y/N]" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.code == 2
    assert "the model comes with Python code" in ended.stderr
    assert ".json names the class own." in ended.stderr
    if name != "validate-data":  # it has no such option
        assert "add --trust-remote-code only if you trust its author" in ended.stderr


@pytest.mark.parametrize("foreign", [code_in_module], indirect=True, ids=["code_in_module"])
def test_with_trust_remote_code_the_code_runs(foreign, server, marker, tmp_path):
    arguments = f"encode --ckpt {foreign} -i - -o v.npy --trust-remote-code".split()
    ended = server.run(*arguments, folder=tmp_path, stdin="y\nriver\n")
    assert ended.code == 0, ended.stderr
    assert marker.exists()


def test_train_in_the_folder_of_a_model_imports_no_module_of_it(tiny_model, inputs, marker, tmp_path):
    """The worker processes are started with `python -m`, which otherwise looks for modules in the working folder."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    for name in ("yaml", "accelerate", "torch"):
        (folder / f"{name}.py").write_text(CODE)
    script = "from embedctl.__main__ import main; main()"
    command = [sys.executable, "-P", "-c", script, *COMMANDS["train"].format(foreign=".", **inputs).split()]
    environment = os.environ | {
        "EMBEDCTL_TEST_MARKER": str(marker),
        "PYTHONPATH": str(Path(embedctl.__file__).parents[1]),
    }
    ended = subprocess.run([*command[:-1], "../out"], cwd=folder, env=environment, capture_output=True, text=True)
    assert not marker.exists()
    assert ended.returncode == 0, ended.stderr
