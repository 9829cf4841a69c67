"""encode from the command line: what is written and said, and what is refused."""

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
def theirs(tiny_model):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(tiny_model, device="cpu")


@pytest.fixture
def run(tiny_model, capsys):
    """Encodes and gives the JSON document and what was said."""

    def run(**flags: object):
        encode.command(**{"model_name_or_path": tiny_model, "json_output": True, "device": "cpu"} | flags)
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    return run


def write(name: str, texts: list[str]) -> str:
    Path(name).write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return name


def difference(name: str, expected: np.ndarray) -> float:
    found = np.load(name)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize(
    ("given", "output"), [("own.txt", "own.npy"), ("a.b.jsonl", "a.b.npy"), ("deep/own.txt", "own.npy")]
)
def test_the_output_has_the_inputs_stem_in_this_folder(given, output, run, theirs):
    Path("deep").mkdir()
    lines = [json.dumps({"text": text}) for text in TEXTS] if given.endswith("jsonl") else TEXTS
    document, _ = run(input=write(given, lines))
    assert (document["output"], document["rows"], document["dim"], document["dtype"]) == (output, 3, 256, "float32")
    assert document["seconds"] > 0
    assert difference(output, theirs.encode(TEXTS)) < 1e-5


def test_packed_inputs_lose_both_suffixes(run):
    import gzip

    Path("a.txt.gz").write_bytes(gzip.compress(b"one\n"))
    assert run(input="a.txt.gz")[0]["output"] == "a.npy"


def test_stdin(run, theirs, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode())))
    document, _ = run(input="-")
    assert document["output"] == "embeddings.npy"
    assert difference("embeddings.npy", theirs.encode(TEXTS)) < 1e-5


def test_the_shipped_example_is_said(run):
    document, said = run()
    assert document["output"] == "texts.npy"
    assert document["rows"] == len(example_data("texts.txt").read_text(encoding="utf-8").splitlines())
    assert "example file shipped with embedctl" in said


def test_one_line_says_what_was_done(run):
    _, said = run(input=write("own.txt", TEXTS), dim="64", dtype="float16")
    assert said.startswith("3 texts, 64 dimensions, float16, ")
    assert said.endswith("texts/s -> own.npy\n")


def test_empty_texts_are_kept_and_said(run):
    document, said = run(input=write("own.txt", ["one", "", "two"]))
    assert document["rows"] == 3
    assert "warning: 1 of 3 texts are empty" in said


def test_prompts(run, theirs, tmp_path):
    write("own.txt", TEXTS)
    theirs.prompts["query"] = "river: "
    theirs.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    expected = theirs.encode(TEXTS, prompt="river: ")
    run(model_name_or_path="model", input="own.txt", prompt_name="query", output="named.npy")
    run(input="own.txt", prompt="river: ", output="given.npy")
    run(input="own.txt", output="plain.npy")
    assert difference("named.npy", expected) < 1e-5
    assert difference("given.npy", expected) < 1e-5
    assert difference("plain.npy", expected) > 1e-3
    with pytest.raises(ModelError, match=r"--prompt-name quary: the model's prompts are: .*query"):
        run(model_name_or_path="model", input="own.txt", prompt_name="quary")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_other_backends_give_torchs_vectors(backend, run, theirs, exports, monkeypatch):
    monkeypatch.setenv("EMBEDCTL_CACHE", str(exports))
    write("own.txt", TEXTS)
    missing = [name for name in REQUIRED_PACKAGES[backend] if find_spec(name) is None]
    if missing:
        with pytest.raises(ConfigError, match="not installed: " + ", ".join(missing)):
            run(input="own.txt", backend=backend)
        pytest.skip(f"the extra {backend} is not installed")
    run(input="own.txt", output="shards/", backend=backend)
    assert difference("shards/shard-00000.npy", theirs.encode(TEXTS)) < 1e-4
    with pytest.raises(ConfigError, match="another backend"):
        run(input="own.txt", output="shards/")


def test_short_vectors_have_length_1(run, theirs):
    run(input=write("own.txt", TEXTS), dim="16")
    cut = theirs.encode(TEXTS)[:, :16]
    assert difference("own.npy", cut / np.linalg.norm(cut, axis=1, keepdims=True)) < 1e-5


def test_a_file_is_replaced_and_a_folder_goes_on(run):
    write("own.txt", TEXTS)
    Path("own.npy").write_bytes(b"old")
    run(input="own.txt")
    assert np.load("own.npy").shape == (3, 256)
    run(input="own.txt", output="shards/", shard_rows="2")
    document, said = run(input="own.txt", output="shards", shard_rows="2")
    assert document["rows"] == 3
    assert "3 texts, 3 of them there already" in said
    joined = np.concatenate([np.load(f"shards/shard-0000{place}.npy") for place in (0, 1)])
    assert np.abs(joined - np.load("own.npy")).max() < 1e-5
    with pytest.raises(ConfigError, match="another prompt, dtype"):
        run(input="own.txt", output="shards", shard_rows="2", prompt="x", dtype="float16")
    assert run(input="own.txt", output="shards", shard_rows="2", prompt="x", overwrite=True)[0]["rows"] == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_processes": "2"}, "--num-processes 2: each writes shards of its own, and own.npy is one file"),
        ({"num_processes": "2", "output": "x/", "input": "-"}, "a pipe can be read once"),
        ({"prompt": "a", "prompt_name": "b"}, "--prompt and --prompt-name exclude each other"),
        ({"dim": "257"}, "--dim 257: the model has 256 dimensions"),
        ({"backend": "onnx", "device": "cuda"}, "--backend onnx: computes on the CPU, not on cuda"),
        ({"backend": "openvino", "precision": "float16"}, "--backend openvino: computes in float32"),
        ({"output": "x.bin"}, "suffix is none of"),
        ({"output": "own.txt"}, "is the input"),
        ({"output": "taken/"}, "is a file"),
        ({"output": "taken/x.npy"}, "can't be written"),
        ({"output": "model"}, "holds files that are no shards"),
    ],
)
def test_what_is_refused(flags, message, run):
    write("own.txt", TEXTS)
    write("taken", ["dear"])
    Path("model").mkdir()
    write("model/config.json", ["dear"])
    with pytest.raises(ConfigError, match=message):
        run(**{"input": "own.txt"} | flags)
    assert Path("taken").read_text() == Path("model/config.json").read_text() == "dear\n"
    assert Path("own.txt").read_text(encoding="utf-8").split() == " ".join(TEXTS).split()


def test_missing_inputs_and_models(run):
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        run(input="none.txt")
    with pytest.raises(DataError, match="holds no text"):
        run(input=write("empty.txt", []))
    assert not Path("empty.npy").exists()
    with pytest.raises(ModelError, match="no model: give --ckpt"):
        run(input="empty.txt", model_name_or_path=None)


def test_the_last_run_is_the_default_model(run, theirs, tmp_path):
    theirs.save_pretrained(str(tmp_path / "out"), create_model_card=False)
    document, said = run(input=write("own.txt", TEXTS), model_name_or_path=None)
    assert document["rows"] == 3
    assert "using the trained model in out" in said


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"output": "out/"}, "the same command goes on"),
        ({"output": "there"}, "the same command goes on"),
        ({"output": "out/", "overwrite": True}, "without --overwrite goes on"),
        ({"output": "out.npy"}, "nothing is kept; with -o FOLDER/"),
    ],
)
def test_what_ctrl_c_leaves_to_be_done(given, hint, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    assert hint in load(EncodeConfig, None, given).interrupt_hint
