"""Models that only sentence-transformers can run: their embeddings, one step of training, and the exported model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Router, StaticEmbedding, Transformer

from embedctl.model import equivalence
from embedctl.model.embedder import Embedder
from embedctl.tokens.raw_text import RawText, RawTextTokenizer, mark, parse

QUERIES = ["where is the river", "学习 天气", "which castle has a market " * 9]
PASSAGES = ["river stone cloud", "", "the theory of the signal " * 20, "alpha\0beta"]


def static_model(tiny: str, dimension: int = 16) -> StaticEmbedding:
    from tokenizers import Tokenizer

    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(f"{tiny}/tokenizer.json")
    tokenizer.no_truncation()
    return StaticEmbedding(tokenizer, embedding_dim=dimension)


def static(tiny: str, folder: str) -> None:
    SentenceTransformer(modules=[static_model(tiny)], device="cpu").save_pretrained(folder)


def router(tiny: str, folder: str) -> None:
    transformer = Transformer(tiny)
    dimension = transformer.auto_model.config.hidden_size
    modules = Router.for_query_document([static_model(tiny, dimension)], [transformer, Pooling(dimension)])
    SentenceTransformer(modules=[modules, Normalize()], device="cpu").save_pretrained(folder)


def router_of_transformers(tiny: str, folder: str) -> None:
    """Save two transformers with different weights and no default route."""
    routes = []
    for seed in range(2):
        torch.manual_seed(seed)
        transformer = Transformer(tiny)
        with torch.no_grad():
            for weight in transformer.parameters():
                weight += 0.02 * torch.randn_like(weight)
        routes.append([transformer, Pooling(transformer.auto_model.config.hidden_size)])
    modules = Router.for_query_document(*routes, default_route=None, allow_empty_key=False)
    SentenceTransformer(modules=[modules, Normalize()], device="cpu").save_pretrained(folder)


def query_length(tiny: str, folder: str) -> None:
    model = SentenceTransformer(tiny, device="cpu")
    model[0].query_length = 6
    model.save_pretrained(folder)


def prompt_left_out(tiny: str, folder: str) -> None:
    model = SentenceTransformer(tiny, device="cpu")
    model.set_pooling_include_prompt(False)
    model.prompts.update(query="search for: ", document="text: ")
    model.save_pretrained(folder)


MODELS: list[Callable[[str, str], None]] = [static, router_of_transformers, query_length, prompt_left_out]


@pytest.fixture(params=MODELS, ids=lambda build: build.__name__)
def folder(request, tiny_model, tmp_path) -> str:
    """Return the folder of a model without dropout."""
    base, path = shutil.copytree(tiny_model, tmp_path / "base"), str(tmp_path / "model")
    config = json.loads((base / "config.json").read_text())
    dropout = {name: 0.0 for name in config if "dropout" in name and name != "classifier_dropout"}
    (base / "config.json").write_text(json.dumps(config | dropout))
    request.param(str(base), path)
    return path


def test_embeddings_are_those_of_sentence_transformers(folder):
    embedder, model = Embedder.from_pretrained(folder, device="cpu"), SentenceTransformer(folder, device="cpu")
    np.testing.assert_allclose(embedder.encode_queries(QUERIES), model.encode_query(QUERIES), atol=1e-5)
    np.testing.assert_allclose(embedder.encode_passages(PASSAGES), model.encode_document(PASSAGES), atol=1e-5)


def test_the_first_loss_is_that_of_sentence_transformers_and_the_export_has_the_same_embeddings(folder, tmp_path):
    rows = [{"query": query, "pos": [passage]} for query, passage in zip(QUERIES, [*PASSAGES[::2], "e f"], strict=True)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = SentenceTransformer(folder, device="cpu")
    queries = model.encode_query(QUERIES, convert_to_tensor=True, normalize_embeddings=True)
    passages = [row["pos"][0] for row in rows]
    documents = model.encode_document(passages, convert_to_tensor=True, normalize_embeddings=True)
    expected = torch.nn.functional.cross_entropy(queries @ documents.T / 0.05, torch.arange(3)).item()
    train = ["train", "--model", folder, "--dataset", "rows.jsonl", "--cpu", "--batch-size", "3", "--neg-nums", "0"]
    train += ["--temperature", "0.05", "--max-steps", "1", "-o", "out", "--lr", "0.001"]
    command = [sys.executable, "-m", "embedctl", *train]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] == pytest.approx(expected, rel=1e-3)
    tuned = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert float((tuned.encode_query(QUERIES) * queries.numpy()).sum(axis=1).min()) < 1  # it was trained
    found = Embedder.from_pretrained(str(tmp_path / "out"), device="cpu").encode_queries(QUERIES)
    np.testing.assert_allclose(found, tuned.encode_query(QUERIES), atol=1e-5)


def test_a_line_says_why_the_slower_path_is_used(tiny_model, tmp_path, capsys):
    query_length(tiny_model, str(tmp_path / "model"))
    Embedder.from_pretrained(str(tmp_path / "model"), device="cpu")
    assert "the embeddings of queries differ from those of sentence-transformers (cosine" in capsys.readouterr().err


def test_a_model_is_compared_once(tiny_model, tmp_path, monkeypatch):
    compared = []
    original = equivalence.comparison_problem
    monkeypatch.setattr(
        "embedctl.model.embedder.comparison_problem", lambda *args: (compared.append(1), original(*args))[1]
    )
    SentenceTransformer(tiny_model, device="cpu").save_pretrained(str(tmp_path / "model"))
    for _ in range(2):
        Embedder.from_pretrained(str(tmp_path / "model"), device="cpu")
    assert len(compared) == 1
    (tmp_path / "model" / "README.md").write_text("changed")
    Embedder.from_pretrained(str(tmp_path / "model"), device="cpu")
    assert len(compared) == 2


@pytest.mark.parametrize("text", ["", "a", "学习\n", "a\0b\0c\0d", "\ud800"])
def test_raw_texts_are_restored(text):
    def ids(string: str) -> np.ndarray:
        return np.array(RawTextTokenizer()([string], truncation=True, max_length=2)["input_ids"][0], dtype=np.int32)

    assert parse(ids(mark("query", "find: ") + text)) == RawText("query", "find: ", text, 2)
    assert parse(ids(mark("passage", "") + text)) == RawText("document", "", text, 2)
    assert parse(ids(mark(None, "p") + text)) == RawText(None, "p", text, 2)
    assert parse(ids(text)) == RawText(None, "", text, 2)


def test_max_len_is_refused_for_a_model_that_does_not_truncate(tiny_model, tmp_path):
    from embedctl.errors import ConfigError

    static(tiny_model, str(tmp_path / "model"))
    with pytest.raises(ConfigError, match="StaticEmbedding of this model does not truncate"):
        Embedder.from_pretrained(str(tmp_path / "model"), device="cpu", max_len=8)


def test_an_index_of_a_model_that_does_not_truncate_can_be_searched(tiny_model, tmp_path, monkeypatch, capsys):
    from embedctl.commands import encode, search

    monkeypatch.chdir(tmp_path)
    static(tiny_model, "model")
    Path("texts.txt").write_text("river stone\ncastle market\n")
    encode.command(model_name_or_path="model", input="texts.txt", output="v.npy", index="flat", device="cpu")
    capsys.readouterr()
    search.command(index="v.npy", texts=["castle market"], device="cpu", json_output=True)
    assert '"text": "castle market"' in capsys.readouterr().out.partition("river")[0]


def test_the_own_truncate_dim_of_a_model_is_applied(tiny_model, tmp_path):
    model = SentenceTransformer(tiny_model, device="cpu", truncate_dim=16)
    path = str(tmp_path / "model")
    model.save_pretrained(path)
    config = Path(path, "config_sentence_transformers.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"truncate_dim": 16}))
    expected = SentenceTransformer(path, device="cpu").encode(QUERIES, normalize_embeddings=True)
    assert expected.shape == (3, 16)
    embedder = Embedder.from_pretrained(path, device="cpu")
    assert not embedder.uses_own_forward
    np.testing.assert_allclose(embedder.encode(QUERIES), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_a_folder_with_an_adapter_is_loaded_and_trained_with_its_base_model(tiny_model, tmp_path):
    import transformers
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    backbone = transformers.AutoModel.from_pretrained(tiny_model)
    adapted = get_peft_model(backbone, LoraConfig(r=4, target_modules=["query", "value"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    adapted.peft_config["default"].base_model_name_or_path = tiny_model
    path = str(tmp_path / "adapter")
    adapted.save_pretrained(path)
    transformers.AutoTokenizer.from_pretrained(tiny_model).save_pretrained(path)
    expected = SentenceTransformer(path, device="cpu").encode(QUERIES, normalize_embeddings=True)
    embedder = Embedder.from_pretrained(path, device="cpu")
    np.testing.assert_allclose(embedder.encode(QUERIES), expected, atol=1e-5)
    assert all(weight.requires_grad for weight in embedder.parameters())
    embedder.save(tmp_path / "merged")
    merged = SentenceTransformer(str(tmp_path / "merged"), device="cpu").encode(QUERIES, normalize_embeddings=True)
    np.testing.assert_allclose(merged, expected, atol=1e-5)


def test_a_dense_module_before_pooling_is_used_when_texts_are_packed(tiny_model, tmp_path):
    from sentence_transformers.sentence_transformer.modules import Dense

    torch.manual_seed(0)
    transformer = Transformer(tiny_model)
    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    dense = Dense(transformer.auto_model.config.hidden_size, 24, **names)
    path = str(tmp_path / "model")
    model = SentenceTransformer(modules=[transformer, dense, Pooling(24, "mean")], device="cpu")
    model.save_pretrained(path)
    embedder = Embedder.from_pretrained(path, device="cpu", attention="packed")
    assert embedder.packed
    np.testing.assert_allclose(embedder.encode(QUERIES), model.encode(QUERIES), atol=1e-4)


def test_a_tokenizer_without_a_padding_token_uses_the_end_token(tiny_model, tmp_path, capsys):
    import transformers

    path = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "eos_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), **special).save_pretrained(path)
    expected = SentenceTransformer(tiny_model, device="cpu").encode(QUERIES)
    embedder = Embedder.from_pretrained(str(path), device="cpu")
    assert "the tokenizer has no padding token; [SEP] is used" in capsys.readouterr().err
    np.testing.assert_allclose(embedder.encode(QUERIES), expected, atol=1e-5)
    embedder.save(tmp_path / "saved")
    np.testing.assert_allclose(
        SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(QUERIES), expected, atol=1e-5
    )


def test_a_model_without_a_limit_of_positions_truncates_nothing(tmp_path, tiny_model):
    import transformers

    torch.manual_seed(0)
    config = transformers.XLNetConfig(vocab_size=2000, d_model=32, n_layer=2, n_head=2, d_inner=64)
    path = tmp_path / "model"
    transformers.XLNetModel(config).save_pretrained(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model, model_max_length=10**30)
    tokenizer.save_pretrained(path)
    texts = [*QUERIES, "river " * 700]
    expected = SentenceTransformer(str(path), device="cpu").encode(texts, normalize_embeddings=True, batch_size=1)
    np.testing.assert_allclose(Embedder.from_pretrained(str(path), device="cpu").encode(texts), expected, atol=1e-4)


@pytest.mark.parametrize(("name", "task"), [("query", "encode_query"), ("document", "encode_document")])
def test_encode_uses_the_route_of_a_router_that_the_prompt_names(name, task, tiny_model, tmp_path, monkeypatch):
    from embedctl.commands import encode

    monkeypatch.chdir(tmp_path)
    router(tiny_model, "model")
    Path("texts.txt").write_text("\n".join(QUERIES) + "\n")
    encode.command(model_name_or_path="model", input="texts.txt", output="v.npy", prompt_name=name, device="cpu")
    expected = getattr(SentenceTransformer("model", device="cpu"), task)(QUERIES)
    np.testing.assert_allclose(np.load("v.npy"), expected, atol=1e-5)


def test_shards_of_the_other_route_are_not_continued(tiny_model, tmp_path, monkeypatch):
    from embedctl.commands import encode
    from embedctl.errors import ConfigError

    monkeypatch.chdir(tmp_path)
    router(tiny_model, "model")
    Path("texts.txt").write_text("river stone\n")
    options = {"model_name_or_path": "model", "input": "texts.txt", "output": "v/", "device": "cpu"}
    encode.command(**options, prompt_name="query")
    with pytest.raises(ConfigError, match="embeddings made with other settings: --prompt"):
        encode.command(**options, prompt_name="document")


def test_a_token_of_a_static_embedding_without_a_row_is_refused(tiny_model, tmp_path):
    from embedctl.errors import ModelError

    module = static_model(tiny_model)
    module.tokenizer.add_tokens(["unknowable"])
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(tmp_path / "model"))
    embedder = Embedder.from_pretrained(str(tmp_path / "model"), device="cpu")
    embedder.encode(["river"])
    with pytest.raises(ModelError, match=r"the token 'unknowable' .* but the embedding matrix of the model has"):
        embedder.encode(["an unknowable river"])
