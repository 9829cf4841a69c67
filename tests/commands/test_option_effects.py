"""Every option of every command: refused where it could have no effect, or the reason why it always has one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from embedctl import console
from embedctl.cli import app
from embedctl.config import LossSection
from embedctl.data.rows import RowKind
from embedctl.errors import ConfigError, EmbedctlError
from embedctl.losses.select import check_options

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
ROWS = {
    "hard": {"query": "alpha river", "pos": ["beta stone"], "neg": ["gamma"]},
    "graded": {"query": "alpha river", "pos": ["beta", "gamma"], "scores": [1, 0]},
    "teacher": {"query": "alpha", "pos": ["beta"], "neg": ["gamma"], "pos_scores": [2], "neg_scores": [1]},
}
EVERYWHERE = {
    "--json": "a JSON object is printed to stdout",
    "--quiet": "messages are left out",
    "--config": "the file is read, and an unknown key is an error",
    "--trust-remote-code": "a permission: without it, a model with code of its own is refused",
    "--overwrite": "a permission: without it, a foreign or changed output is refused",
    "--device": "the model computes there, or the device is not available",
    "--query-prompt": "prepended to each query whose row has no prompt",
    "--passage-prompt": "prepended to each passage",
    "--dim": "vectors have this length, or the model has fewer dimensions",
}
LIMIT = "a limit that every candidate is compared with"
PROCESS = "a process that cannot be started is an error"
# Options that always have an effect, and why.
ALWAYS: dict[str, dict[str, str]] = {
    "validate-data": {
        "files": "the files to check",
        "--model-name-or-path": "its tokenizer counts the tokens",
        "--neg-nums": "a limit that every row is compared with",
        "--max-errors": "a limit of the list; the number of unlisted errors is printed",
    },
    "mine-negatives": {
        "--model-name-or-path": "the model that searches",
        "--dataset": "the rows",
        "--corpus": "the passages",
        "--neg-nums": "the number of negatives; rows that get fewer are counted",
        "--output": "the file that is written",
        "--range": "the positions that negatives are taken from; rows with too few passages are counted",
        "--sampling": "the choice within the range",
        "--keep-negatives": "negatives of the row stay",
        "--report": "the file is written",
        "--cache": "embeddings are stored, or not",
        "--scores": "scores are written to the rows",
        "--max-score": LIMIT,
        "--min-score": LIMIT,
        "--margin": LIMIT,
        "--relative-margin": LIMIT,
        "--positive-score": "negatives above the positive are counted with it, also without a margin",
        "--rerank-with": "scores, report and the count of negatives above the positive are the reranker's",
        "--also": "a second list of results",
        "--ann": "another search, whose recall is printed",
    },
    "train": {
        "--model-name-or-path": "the model",
        "--dataset": "the rows",
        "--eval-dataset": "the model is evaluated",
        "--output-dir": "the folder that is written",
        "--neg-nums": "an upper limit of the negatives per query",
        "--positives": "how the positives of every row are used",
        "--one-dataset-per-batch": "a rule for every batch; with one file it holds without the option",
        "--remine-every-epoch": "negatives are mined; refused with one epoch or --neg-nums 0",
        "--mrl-dims": "terms of the loss of every kind of row",
        "--batch-size": "number of rows",
        "--gradient-accumulation-steps": "number of batches per step",
        "--lr": "of every step",
        "--max-steps": "the number of steps",
        "--warmup-proportion": "of every schedule",
        "--lr-scheduler": "of every step",
        "--weight-decay": "of every step",
        "--max-grad-norm": "a limit that every gradient is compared with",
        "--seed": "the order of the rows",
        "--resume": "a run is continued, or a line says that there is none",
        "--save-on-epoch-end": "a model per epoch",
        "--save-steps": "a checkpoint after so many steps, if there are as many",
        "--keep": "a limit of the number of checkpoints",
        "--log-with": "the tracker, or its package is missing",
        "--num-processes": PROCESS,
        "--strategy": "how processes share the work; with one process, the panel says that it has no effect",
        "--mixed-precision": "the type of the computation, or the device does not support it",
        "--tokens-per-forward": "a limit of every forward pass",
        "--attention": "the kind of attention; where packing fails, a warning says so",
        "--cpu": "the device",
        "--num-machines": PROCESS,
        "--main-process-port": "the port of the main process, also on one machine",
        "--dry-run": "nothing is trained",
        "--config-file": "each of its keys is an option, or an error",
    },
    "eval": {
        "--model-name-or-path": "the model",
        "--dataset": "the rows",
        "--baseline": "the model that is compared",
        "--min": "the exit code",
    },
    "encode": {
        "--model-name-or-path": "the model",
        "--input": "the texts",
        "--output": "the file that is written",
        "--prompt": "prepended to each text",
        "--dtype": "the type of the stored vectors",
        "--batch-tokens": "a limit of every forward pass",
    },
    "search": {
        "--index": "the index",
        "--k": "an upper limit of the results per query",
        "--model-name-or-path": "the model; it must have the weights of the one of the index",
        "--prompt": "prepended to each query",
    },
    "doctor": {},
}
# Options with a command line in which they would have no effect. STATIC is a folder with a StaticEmbedding model, and
# TINY one with a BERT.
TRAIN = "--dataset hard.jsonl --dry-run"
REFUSED: dict[str, dict[str, list[str]]] = {
    "validate-data": {
        "--query-max-len": ["hard.jsonl --query-max-len 8"],
        "--passage-max-len": ["hard.jsonl --passage-max-len 8"],
    },
    "mine-negatives": {
        "--fill": ["--dataset hard.jsonl --fill relax"],
        "--seed": ["--dataset hard.jsonl --sampling top --seed 1"],
        "--rerank-margin": ["--dataset hard.jsonl --rerank-margin 1"],
        "--rerank-max-score": ["--dataset hard.jsonl --rerank-max-score 1"],
        "--rerank-batch-size": ["--dataset hard.jsonl --rerank-batch-size 8"],
    },
    "train": {
        "--pooling": [f"{TRAIN} --pooling cls", f"{TRAIN} --model TINY --pooling cls"],
        "--lora-rank": [f"{TRAIN} --model STATIC --lora-rank 4"],
        "--lora-alpha": [f"{TRAIN} --lora-alpha 8"],
        "--lora-target-modules": [f"{TRAIN} --lora-target-modules query"],
        "--gradient-checkpointing": [f"{TRAIN} --model STATIC --gradient-checkpointing"],
        "--compile": [f"{TRAIN} --cpu --compile", f"{TRAIN} --model STATIC --compile"],
        "--query-max-len": [f"{TRAIN} --model STATIC --query-max-len 8", f"{TRAIN} --model TINY --query-max-len 99999"],
        "--passage-max-len": [f"{TRAIN} --model STATIC --passage-max-len 8"],
        "--remine-range": [f"{TRAIN} --remine-range 0-20"],
        "--remine-margin": [f"{TRAIN} --remine-margin 0.1"],
        "--temperature": ["--dataset graded.jsonl --dry-run --temperature 0.1"],
        "--in-batch": [f"--dataset {name}.jsonl --dry-run --in-batch none" for name in ("graded", "teacher")],
        "--symmetric": [f"--dataset {name}.jsonl --dry-run --symmetric" for name in ("graded", "teacher")],
        "--distill": [f"{TRAIN} --distill margin-mse"],
        "--teacher-temperature": [f"{TRAIN} --teacher-temperature 2"],
        "--cosent-scale": [f"{TRAIN} --cosent-scale 10"],
        "--eval-steps": [f"{TRAIN} --eval-steps 2"],
        "--metric": [f"{TRAIN} --metric MRR@10"],
        "--early-stopping-patience": [f"{TRAIN} --early-stopping-patience 2"],
        "--fsdp-layers": [f"{TRAIN} --strategy ddp --fsdp-layers BertLayer"],
        "--fsdp-reshard": [f"{TRAIN} --strategy ddp --no-fsdp-reshard"],
        "--machine-rank": [f"{TRAIN} --machine-rank 1"],
        "--main-process-ip": [f"{TRAIN} --main-process-ip 10.0.0.1"],
    },
    "eval": {
        "--metric": ["--dataset hard.jsonl --metric MRR@10"],
        "--corpus": ["--corpus hard.jsonl --dataset hard.jsonl"],
        "--queries": ["--queries hard.jsonl --dataset hard.jsonl"],
        "--qrels": ["--qrels hard.jsonl --dataset hard.jsonl"],
        "--allow-missing": ["--dataset hard.jsonl --allow-missing"],
    },
    "encode": {
        "--field": ["-i - --field body", "-i texts.txt --field body", "-i lines --field body --model TINY"],
        "--prompt-name": ["-i texts.txt --prompt-name query --prompt x", "-i texts.txt --prompt-name x --model TINY"],
        "--max-len": ["-i texts.txt --max-len 8 --model STATIC", "-i texts.txt --max-len 99999 --model TINY"],
        "--precision": ["-i texts.txt --precision float16 --backend onnx"],
        "--backend": ["-i texts.txt --backend onnx --device cuda"],
        "--shard-rows": ["-i texts.txt --shard-rows 10", "-i texts.txt -o v.npy --shard-rows 10"],
        "--index": ["-i texts.txt -o v.jsonl --index flat", "-i texts.txt --index flat --dtype binary"],
        "--num-processes": ["-i texts.txt --num-processes 2 --model TINY"],
    },
    "search": {
        "texts": ["word -i texts.txt"],
        "--input": ["word -i texts.txt"],
        "--field": ["word --field body", "-i texts.txt --field body"],
        "--prompt-name": ["word --prompt-name query --prompt x"],
    },
    "doctor": {},
}
# How a message shows an option, if not by its name.
SHOWN = dict.fromkeys(("texts", "--input"), "given either as arguments or with --input")
SHOWN["--fsdp-reshard"] = "--no-fsdp-reshard"
REPORTED = {("train", "--epochs"): f"{TRAIN} --epochs 5 --max-steps 3 --model nowhere"}
CASES = [(name, option, line) for name, found in REFUSED.items() for option, lines in found.items() for line in lines]


def names_of(command: str) -> list[str]:
    """The options of a command: their longest names, and the names of arguments."""
    shown = [parameter for parameter in COMMANDS[command].params if not getattr(parameter, "hidden", False)]
    return [one.name if one.param_type_name == "argument" else one.opts[-1] for one in shown]


@pytest.fixture(scope="module")
def static_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> str:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    folder = str(tmp_path_factory.mktemp("static") / "model")
    static = StaticEmbedding(Tokenizer.from_file(f"{tiny_model}/tokenizer.json"), embedding_dim=16)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(folder, create_model_card=False)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, row in ROWS.items():
        Path(f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    for name in ("texts.txt", "lines"):
        Path(name).write_text("alpha river\nbeta\n")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_one_table(command):
    reported = [option for name, option in REPORTED if name == command]
    tables = [*ALWAYS[command], *REFUSED[command], *reported]
    assert len(tables) == len(set(tables))
    assert {*tables, *EVERYWHERE} >= {*names_of(command)} >= {*tables}


@pytest.mark.parametrize(("command", "option", "line"), CASES, ids=[" ".join(case[::2]) for case in CASES])
def test_an_option_that_has_no_effect_is_refused(command, option, line, folder, tiny_model, request):
    before = sorted(path.name for path in folder.iterdir())
    words = [tiny_model if word == "TINY" else word for word in shlex.split(line)]
    if "STATIC" in words:
        words[words.index("STATIC")] = request.getfixturevalue("static_model")
    outcome = CliRunner().invoke(app, [command, *words])
    console.configure()
    assert isinstance(outcome.exception, EmbedctlError), (outcome.exception, outcome.output)
    assert outcome.exception.exit_code == 2
    assert SHOWN.get(option, option) in outcome.exception.message
    assert "is not found" not in outcome.exception.message
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(("command", "option"), REPORTED)
def test_an_option_that_another_one_replaces_is_reported(command, option, folder):
    outcome = CliRunner().invoke(app, [command, *shlex.split(REPORTED[command, option])])
    assert f"so {option} has no effect" in outcome.stderr


def test_an_index_of_a_model_that_truncates_no_texts_is_searched(folder, static_model):
    encode = ["encode", "--model", static_model, "-i", "texts.txt", "-o", "v.npy", "--index", "flat", "-d", "cpu"]
    for line in (encode, ["search", "--index", "v.npy", "beta", "-k", "1", "--json", "-d", "cpu"]):
        outcome = CliRunner().invoke(app, line, catch_exceptions=False)
    console.configure()
    [hit] = json.loads(outcome.stdout)["results"][0]["hits"]
    assert hit == {"row": 1, "score": 1.0, "text": "beta"}


def test_options_of_a_loss_are_refused_only_if_no_kind_of_row_uses_them():
    check_options(LossSection(), {RowKind.GRADED})
    check_options(LossSection(temperature=0.1, symmetric=True), {RowKind.GRADED, RowKind.IN_BATCH})
    check_options(LossSection(temperature=0.1, distill="margin-mse"), {RowKind.TEACHER})
    check_options(LossSection(mrl_dims=(8,), cosent_scale=5), {RowKind.GRADED})
    with pytest.raises(ConfigError, match=r"--temperature has no effect .* \(graded pairs\)"):
        check_options(LossSection(temperature=0.1, mrl_dims=(8,)), {RowKind.GRADED})
