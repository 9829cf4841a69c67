"""Tests of `embedctl encode --index` and `embedctl search`: files, results, messages and errors."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from embedctl import console
from embedctl.commands import encode, search
from embedctl.errors import ConfigError, DataError, ModelError
from tests.conftest import SIMILARITIES, save_stating

TEXTS = [f"{word} {other}" for word in ("alpha", "river", "stone", "cloud") for other in ("market", "violin", "学习")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
    yield tmp_path
    console.configure()


@pytest.fixture
def build_index(tiny_model, capsys):
    """Return a function that encodes the texts with an index and returns the JSON object and stderr."""

    def run(**flags: object):
        defaults = {"model_name_or_path": tiny_model, "index": "flat", "json_output": True, "device": "cpu"}
        encode.command(**defaults | flags)
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    return run


@pytest.fixture
def find(capsys):
    """Return a function that searches and returns (query, hits) of each query, and stderr."""

    def run(*texts: str, **flags: object):
        search.command(**{"texts": list(texts), "json_output": True, "device": "cpu"} | flags)
        printed = capsys.readouterr()
        summary = json.loads(printed.out)
        return [(result["query"], result["hits"]) for result in summary["results"]], printed.err

    return run


def shards_of(output: str, rows: str) -> dict[str, str]:
    """The option for the rows per shard, if the output is a folder."""
    return {"shard_rows": rows} if output.endswith("/") else {}


@pytest.mark.parametrize("output", ["texts.npy", "vectors/"])
@pytest.mark.parametrize("index", ["flat", "hnsw", "ivf"])
def test_the_results_are_those_of_sentence_transformers(output, index, build_index, find, tiny_model):
    from sentence_transformers import SentenceTransformer

    summary, err = build_index(output=output, index=index, **shards_of(output, "5"))
    assert summary["recall"] == 1.0
    assert "search it with `embedctl search --index" in err
    reference = SentenceTransformer(tiny_model, device="cpu")
    queries = ["river violin", "cloud"]
    cosines = reference.encode(queries) @ reference.encode(TEXTS).T
    for path in (output, summary["index"]):
        for query_index, (query, hits) in enumerate(find(*queries, index=path, k="3")[0]):
            order = np.argsort(-cosines[query_index])[:3]
            assert query == queries[query_index]
            assert [hit["text"] for hit in hits] == [TEXTS[row] for row in order]
            assert [hit["row"] for hit in hits] == order.tolist()
            assert np.abs([hit["score"] for hit in hits] - cosines[query_index][order]).max() < 1e-5


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivf"])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_an_index_compares_by_the_similarity_function_of_the_model(name, index, build_index, find, tiny_model, capsys):
    from sentence_transformers import SentenceTransformer

    model = save_stating(tiny_model, Path("model"), name)
    assert build_index(model_name_or_path=model, index=index)[0]["recall"] == 1.0
    reference = SentenceTransformer(model, device="cpu")
    (scores,) = reference.similarity(reference.encode("river violin"), reference.encode(TEXTS)).numpy()
    [(_, hits)] = find("river violin", k="12")[0]
    assert [hit["row"] for hit in hits] == np.argsort(-scores).tolist()
    np.testing.assert_allclose([hit["score"] for hit in hits], np.sort(scores)[::-1], rtol=1e-5, atol=1e-5)
    search.command(texts=["river"], device="cpu", quiet=True)
    assert f" {name} ┃" in capsys.readouterr().out


def test_an_index_of_another_similarity_function_is_refused(build_index, find, tiny_model):
    model = save_stating(tiny_model, Path("model"), "dot")
    build_index(model_name_or_path=model)
    manifest = Path("texts.npy.index/manifest.json")
    written = json.loads(manifest.read_text())
    written.pop("similarity")  # as an earlier version wrote it, for the cosine
    manifest.write_text(json.dumps(written))
    with pytest.raises(ConfigError, match=r"compares embeddings by cosine, but the model .* states .* function dot"):
        find("cloud")


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivf"])
def test_quantized_embeddings_have_no_index_for_the_manhattan_distance(index, build_index, tiny_model):
    model = save_stating(tiny_model, Path("model"), "manhattan")
    with pytest.raises(ConfigError, match=r"--index \w+: faiss .* --dtype int8 .* manhattan \(similarity_"):
        build_index(model_name_or_path=model, index=index, dtype="int8")
    assert not Path("texts.npy").exists()


def test_the_index_of_a_model_that_truncates_has_its_dimensions(build_index, find, tiny_model):
    config = Path(shutil.copytree(tiny_model, "model"), "config_sentence_transformers.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"truncate_dim": 16}))
    assert build_index(model_name_or_path="model")[0]["dim"] == 16
    assert len(find("cloud", k="12")[0][0][1]) == 12


def test_the_table_of_results(build_index, find):
    build_index()
    _, err = find("river violin", k="2")
    assert err.splitlines()[0] == "river violin"
    assert "cosine" in err
    assert "1.0000" in err


def test_the_table_is_printed_to_stdout_also_with_quiet(build_index, capsys):
    build_index()
    search.command(texts=["river violin"], k="2", quiet=True)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[0] == "river violin"
    assert "1.0000" in printed.out


def test_a_file_of_queries_with_k_above_the_number_of_texts(build_index, find):
    build_index()
    Path("queries.jsonl").write_text('{"q": "alpha"}\n{"q": ["stone", "cloud"]}\n')
    results, _ = find(input="queries.jsonl", field="q", k="100")
    assert [query for query, _ in results] == ["alpha", "stone", "cloud"]
    assert all(sorted(hit["row"] for hit in hits) == list(range(len(TEXTS))) for _, hits in results)


def test_the_default_prompt_is_the_models_query_prompt(build_index, find, tiny_model):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(tiny_model, device="cpu")
    model.prompts["query"] = "river: "
    model.save_pretrained("prompted", create_model_card=False)
    build_index(model_name_or_path="prompted")
    by_default, by_option = find("violin")[0][0][1], find("violin", prompt="river: ")[0][0][1]
    assert by_default == by_option
    assert find("violin", prompt="")[0][0][1] != by_option


def test_a_second_index_of_existing_shards_with_other_settings(build_index, find):
    build_index(dim="16", dtype="float16", output="vectors/", shard_rows="5")
    again, _ = build_index(dim="16", dtype="float16", output="vectors/", shard_rows="5", index="hnsw")
    assert again["rows"] == len(TEXTS)
    manifest = json.loads(Path("vectors.index/manifest.json").read_text())
    facts = {name: manifest[name] for name in ("dim", "dtype", "index", "rows")}
    assert facts == {"dim": 16, "dtype": "float16", "index": "hnsw", "rows": len(TEXTS)}
    assert find("cloud market", index="vectors")[0][0][1][0]["text"] == "cloud market"
    assert sorted(path.name for path in Path().iterdir()) == ["texts.txt", "vectors", "vectors.index"]


def test_another_model_than_that_of_the_index_is_an_error(build_index, find, tiny_model):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(tiny_model, device="cpu")
    model.save_pretrained("own", create_model_card=False)
    build_index(model_name_or_path="own")
    assert find("cloud")[0] == find("cloud", model_name_or_path=tiny_model)[0]
    next(model.parameters()).data += 1
    model.save_pretrained("other", create_model_card=False)
    with pytest.raises(ConfigError, match=r"--model other: the weights differ from those of the model that encoded"):
        find("cloud", model_name_or_path="other")
    model.save_pretrained("own", create_model_card=False)
    with pytest.raises(ConfigError, match="own: the weights have changed since the index was written"):
        find("cloud")
    Path("own").rename("moved")
    with pytest.raises(
        ModelError, match=r"the model that encoded the texts of the index cannot be loaded: .*own: no such folder"
    ):
        find("cloud")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"output": "x.jsonl"}, "--index requires embeddings in .npy files"),
        ({"dtype": "binary"}, "not defined for --dtype binary"),
        ({"output": "taken.npy"}, "exists and is not an index"),
    ],
)
def test_outputs_that_cannot_have_an_index(flags, message, build_index):
    Path("taken.npy.index").mkdir()
    Path("taken.npy.index/file").touch()
    with pytest.raises(ConfigError, match=message):
        build_index(**flags)
    assert Path("taken.npy.index/file").exists()


def test_searches_without_index_or_queries_are_errors(build_index, find):
    with pytest.raises(ConfigError, match=r"--index texts\.npy: there is no index"):
        find("cloud")
    build_index()
    with pytest.raises(ConfigError, match="queries must be given either as arguments or with --input"):
        find()
    with pytest.raises(ConfigError, match="queries must be given either as arguments or with --input"):
        find("cloud", input="texts.txt")
    with pytest.raises(DataError, match="no such file"):
        find(input="none.txt")
    Path("texts.npy.index/manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a manifest of an index"):
        find("cloud")


def test_after_an_error_the_old_index_is_unchanged(build_index, find):
    build_index()
    before = find("cloud")[0]
    Path("texts.txt").write_bytes(b"fine\nh\xff\n")
    with pytest.raises(DataError, match="not valid UTF-8"):
        build_index()
    assert find("cloud")[0] == before
    assert sorted(path.name for path in Path().iterdir()) == ["texts.npy", "texts.npy.index", "texts.txt"]


@pytest.mark.parametrize("output", ["texts.npy", "vectors/"])
def test_an_index_never_answers_for_other_vectors(output, build_index, find):
    summary, _ = build_index(output=output, **shards_of(output, "100"))
    before = find("cloud", index=output)[0]
    vectors = Path("vectors/shard-00000.npy" if output == "vectors/" else output)
    content = vectors.read_bytes()
    vectors.write_bytes(content)  # another time, the same content
    os.utime(vectors, (1, 1))
    assert find("cloud", index=output)[0] == before
    np.save(vectors, np.load(vectors)[::-1])
    for path in (output, summary["index"]):
        with pytest.raises(ConfigError, match=r"the index does not belong to .*, which was changed after the index"):
            find("cloud", index=path)
    vectors.unlink()
    if output == "texts.npy":
        assert find("cloud", index=output)[0] == before
