"""Tests of `embedctl encode`: its output files, messages and errors."""

from __future__ import annotations

import io
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from embedctl import console
from embedctl.commands import encode
from embedctl.config import EncodeConfig, load
from embedctl.errors import ConfigError, DataError, ModelError
from embedctl.model.onnx import REQUIRED_PACKAGES
from embedctl.resources import example_data

TEXTS = ["alpha river", "beta stone", "学习"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    console.configure()


@pytest.fixture(scope="module")
def reference_model(tiny_model):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(tiny_model, device="cpu")


@pytest.fixture
def run(tiny_model, capsys):
    """Return a function that runs encode and returns its JSON object and stderr."""

    def run(**flags: object):
        encode.command(**{"model_name_or_path": tiny_model, "json_output": True, "device": "cpu"} | flags)
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    return run


def write_texts(name: str, texts: list[str]) -> str:
    Path(name).write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return name


def max_difference(name: str, expected: np.ndarray) -> float:
    vectors = np.load(name)
    assert vectors.shape == expected.shape
    return float(np.abs(vectors - expected).max())


@pytest.mark.parametrize(
    ("source", "output"), [("own.txt", "own.npy"), ("a.b.jsonl", "a.b.npy"), ("deep/own.txt", "own.npy")]
)
def test_the_default_output_has_the_stem_of_the_input(source, output, run, reference_model):
    Path("deep").mkdir()
    lines = [json.dumps({"text": text}) for text in TEXTS] if source.endswith("jsonl") else TEXTS
    summary, _ = run(input=write_texts(source, lines))
    assert (summary["output"], summary["rows"], summary["dim"], summary["dtype"]) == (output, 3, 256, "float32")
    assert summary["seconds"] > 0
    assert max_difference(output, reference_model.encode(TEXTS)) < 1e-5


def test_the_default_output_of_a_compressed_input_has_neither_suffix(run):
    import gzip

    Path("a.txt.gz").write_bytes(gzip.compress(b"one\n"))
    assert run(input="a.txt.gz")[0]["output"] == "a.npy"


def test_texts_of_stdin_are_encoded_to_a_default_file(run, reference_model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode())))
    summary, _ = run(input="-")
    assert summary["output"] == "embeddings.npy"
    assert max_difference("embeddings.npy", reference_model.encode(TEXTS)) < 1e-5


def test_without_an_input_a_message_names_the_example_file(run):
    summary, err = run()
    assert summary["output"] == "texts.npy"
    assert summary["rows"] == len(example_data("texts.txt").read_text(encoding="utf-8").splitlines())
    assert "example file shipped with embedctl" in err


def test_the_summary_is_one_line(run):
    _, err = run(input=write_texts("own.txt", TEXTS), dim="64", dtype="float16")
    assert err.startswith("encoded 3 texts to own.npy (64 dimensions, float16, ")
    assert err.endswith("texts/s)\n")
    assert err.count("\n") == 1


def test_empty_texts_are_encoded_with_a_warning(run):
    summary, err = run(input=write_texts("own.txt", ["one", "", "two"]))
    assert summary["rows"] == 3
    assert "warning: the input contains 1 empty text" in err


def test_a_prompt_can_be_given_by_name_or_as_text(run, reference_model, tmp_path):
    write_texts("own.txt", TEXTS)
    reference_model.prompts["query"] = "river: "
    reference_model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    expected = reference_model.encode(TEXTS, prompt="river: ")
    run(model_name_or_path="model", input="own.txt", prompt_name="query", output="named.npy")
    run(input="own.txt", prompt="river: ", output="given.npy")
    run(input="own.txt", output="plain.npy")
    assert max_difference("named.npy", expected) < 1e-5
    assert max_difference("given.npy", expected) < 1e-5
    assert max_difference("plain.npy", expected) > 1e-3
    with pytest.raises(ModelError, match=r"--prompt-name quary: the model has no prompt of this name .*query"):
        run(model_name_or_path="model", input="own.txt", prompt_name="quary")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_other_backends_return_the_vectors_of_torch(backend, run, reference_model, exports, monkeypatch):
    monkeypatch.setenv("EMBEDCTL_CACHE", str(exports))
    write_texts("own.txt", TEXTS)
    missing = [name for name in REQUIRED_PACKAGES[backend] if find_spec(name) is None]
    if missing:
        with pytest.raises(ConfigError, match="not installed: " + ", ".join(missing)):
            run(input="own.txt", backend=backend)
        pytest.skip(f"the extra {backend} is not installed")
    run(input="own.txt", output="shards/", backend=backend)
    assert max_difference("shards/shard-00000.npy", reference_model.encode(TEXTS)) < 1e-4
    with pytest.raises(ConfigError, match="other settings: --backend"):
        run(input="own.txt", output="shards/")


def test_truncated_vectors_are_normalized(run, reference_model):
    run(input=write_texts("own.txt", TEXTS), dim="16")
    truncated = reference_model.encode(TEXTS)[:, :16]
    assert max_difference("own.npy", truncated / np.linalg.norm(truncated, axis=1, keepdims=True)) < 1e-5


def test_an_output_file_is_replaced_and_an_output_folder_is_continued(run):
    write_texts("own.txt", TEXTS)
    Path("own.npy").write_bytes(b"a file of the user")
    with pytest.raises(ConfigError, match=r"own\.npy already exists, and it was not written by the same command"):
        run(input="own.txt")
    assert Path("own.npy").read_bytes() == b"a file of the user"
    run(input="own.txt", overwrite=True)
    run(input="own.txt")
    assert np.load("own.npy").shape == (3, 256)
    run(input="own.txt", output="shards/", shard_rows="2")
    summary, err = run(input="own.txt", output="shards", shard_rows="2")
    assert summary["rows"] == 3
    assert err.startswith("encoded 0 texts to shards/")
    assert "reused the embeddings of 3 texts" in err
    joined = np.concatenate([np.load(f"shards/shard-0000{index}.npy") for index in (0, 1)])
    assert np.abs(joined - np.load("own.npy")).max() < 1e-5
    with pytest.raises(ConfigError, match="other settings: --prompt, --dtype"):
        run(input="own.txt", output="shards", shard_rows="2", prompt="x", dtype="float16")
    assert run(input="own.txt", output="shards", shard_rows="2", prompt="x", overwrite=True)[0]["rows"] == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_processes": "2"}, "--num-processes 2 requires an output folder"),
        ({"num_processes": "2", "output": "x/", "input": "-"}, "--num-processes 2 requires an input file or folder"),
        ({"prompt": "a", "prompt_name": "b"}, "--prompt and --prompt-name cannot be combined"),
        ({"dim": "257"}, "--dim 257: the model has only 256 dimensions"),
        ({"backend": "onnx", "device": "cuda"}, "--backend onnx supports only the CPU, not --device cuda"),
        ({"backend": "openvino", "precision": "float16"}, "--backend openvino supports only float32"),
        ({"output": "x.bin"}, "suffix is not one of"),
        ({"input": "own.jsonl", "output": "own.jsonl"}, r"--output own.jsonl is an input file \(--input\)"),
        ({"output": "taken/"}, "--output taken/ is a file"),
        ({"output": "taken/x.npy"}, "cannot be written"),
        ({"output": "model"}, "contains files that are not shards"),
    ],
)
def test_wrong_options_are_errors_and_existing_files_stay_unchanged(flags, message, run):
    write_texts("own.txt", TEXTS)
    Path("own.jsonl").write_text('{"text": "unchanged"}\n')
    write_texts("taken", ["unchanged"])
    Path("model").mkdir()
    write_texts("model/config.json", ["unchanged"])
    with pytest.raises(ConfigError, match=message):
        run(**{"input": "own.txt"} | flags)
    assert Path("taken").read_text() == Path("model/config.json").read_text() == "unchanged\n"
    assert Path("own.txt").read_text(encoding="utf-8").split() == " ".join(TEXTS).split()


def test_a_missing_input_or_model_is_an_error(run):
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        run(input="none.txt")
    with pytest.raises(DataError, match="contains no text"):
        run(input=write_texts("empty.txt", []))
    assert not Path("empty.npy").exists()
    with pytest.raises(ModelError, match="no --model given, and the folder out contains no model"):
        run(input="empty.txt", model_name_or_path=None)


def test_the_default_model_is_the_output_of_train(run, reference_model, tmp_path):
    reference_model.save_pretrained(str(tmp_path / "out"), create_model_card=False)
    summary, err = run(input=write_texts("own.txt", TEXTS), model_name_or_path=None)
    assert summary["rows"] == 3
    assert "using the trained model in out" in err


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"output": "out/"}, "run the same command again"),
        ({"output": "there"}, "run the same command again"),
        ({"output": "out/", "overwrite": True}, "without --overwrite again"),
        ({"output": "out.npy"}, "nothing was saved; use -o FOLDER/"),
    ],
)
def test_the_hint_after_ctrl_c(given, hint, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    assert hint in load(EncodeConfig, None, given).interrupt_hint
