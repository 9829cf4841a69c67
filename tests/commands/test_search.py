"""encode --index and search from the command line: what is found, written, said and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedctl import console
from embedctl.commands import encode, search
from embedctl.errors import ConfigError, DataError, ModelError

TEXTS = [f"{word} {other}" for word in ("alpha", "river", "stone", "cloud") for other in ("market", "violin", "学习")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
    yield tmp_path
    console.configure()


@pytest.fixture
def make(tiny_model, capsys):
    """Encodes the texts with an index and gives what was said and the JSON document."""

    def make(**flags: object):
        given = {"model_name_or_path": tiny_model, "index": "flat", "json_output": True, "device": "cpu"} | flags
        encode.command(**given)
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    return make


@pytest.fixture
def look(capsys):
    """Searches and gives the hits of each query and what was said."""

    def look(*texts: str, **flags: object):
        search.command(**{"texts": list(texts), "json_output": True, "device": "cpu"} | flags)
        printed = capsys.readouterr()
        document = json.loads(printed.out)
        return [(result["query"], result["hits"]) for result in document["results"]], printed.err

    return look


@pytest.mark.parametrize("output", ["texts.npy", "vectors/"])
@pytest.mark.parametrize("index", ["flat", "hnsw", "ivf"])
def test_the_nearest_texts_are_sentence_transformers_own(output, index, make, look, tiny_model):
    from sentence_transformers import SentenceTransformer

    document, said = make(output=output, index=index, shard_rows="5")
    assert document["recall"] == 1.0
    assert "look: embedctl search --index" in said
    theirs = SentenceTransformer(tiny_model, device="cpu")
    queries = ["river violin", "cloud"]
    cosines = theirs.encode(queries) @ theirs.encode(TEXTS).T
    for place in (output, document["index"]):
        for row, (query, hits) in enumerate(look(*queries, index=place, k="3")[0]):
            order = np.argsort(-cosines[row])[:3]
            assert query == queries[row]
            assert [hit["text"] for hit in hits] == [TEXTS[number] for number in order]
            assert [hit["row"] for hit in hits] == order.tolist()
            assert np.abs([hit["score"] for hit in hits] - cosines[row][order]).max() < 1e-5


def test_a_table_for_people(make, look):
    make()
    _, said = look("river violin", k="2")
    assert said.splitlines()[0] == "river violin"
    assert "cosine" in said
    assert "1.0000" in said


def test_a_file_of_queries_and_more_than_there_are(make, look):
    make()
    Path("queries.jsonl").write_text('{"q": "alpha"}\n{"q": ["stone", "cloud"]}\n')
    found, _ = look(input="queries.jsonl", field="q", k="100")
    assert [query for query, _ in found] == ["alpha", "stone", "cloud"]
    assert all(sorted(hit["row"] for hit in hits) == list(range(len(TEXTS))) for _, hits in found)


def test_the_models_query_prompt_is_used(make, look, tiny_model):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(tiny_model, device="cpu")
    model.prompts["query"] = "river: "
    model.save_pretrained("prompted", create_model_card=False)
    make(model_name_or_path="prompted")
    by_default, given = look("violin")[0][0][1], look("violin", prompt="river: ")[0][0][1]
    assert by_default == given
    assert look("violin", prompt="")[0][0][1] != given


def test_dimensions_types_and_a_second_index(make, look):
    make(dim="16", dtype="float16", output="vectors/", shard_rows="5")
    again, _ = make(dim="16", dtype="float16", output="vectors/", shard_rows="5", index="hnsw")
    assert again["rows"] == len(TEXTS)
    manifest = json.loads(Path("vectors.index/manifest.json").read_text())
    facts = {name: manifest[name] for name in ("dim", "dtype", "index", "rows")}
    assert facts == {"dim": 16, "dtype": "float16", "index": "hnsw", "rows": len(TEXTS)}
    assert look("cloud market", index="vectors")[0][0][1][0]["text"] == "cloud market"
    assert sorted(path.name for path in Path().iterdir()) == ["texts.txt", "vectors", "vectors.index"]


def test_another_model_is_refused(make, look, tiny_model):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(tiny_model, device="cpu")
    model.save_pretrained("own", create_model_card=False)
    make(model_name_or_path="own")
    assert look("cloud")[0] == look("cloud", model_name_or_path=tiny_model)[0]
    next(model.parameters()).data += 1
    model.save_pretrained("other", create_model_card=False)
    with pytest.raises(ConfigError, match=r"--ckpt other: its weights differ from those of the model that made the index$"):
        look("cloud", model_name_or_path="other")
    model.save_pretrained("own", create_model_card=False)
    with pytest.raises(ConfigError, match="the folder has changed, and its weights differ from"):
        look("cloud")
    Path("own").rename("moved")
    with pytest.raises(ModelError, match=r"the model that made the index cannot be loaded: .*own: no such folder"):
        look("cloud")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"output": "x.jsonl"}, "needs numbers in .npy files"),
        ({"dtype": "binary"}, "compares by cosine"),
        ({"output": "taken.npy"}, "exists and is not an index"),
    ],
)
def test_what_can_not_have_an_index(flags, message, make):
    Path("taken.npy.index").mkdir()
    Path("taken.npy.index/dear").touch()
    with pytest.raises(ConfigError, match=message):
        make(**flags)
    assert Path("taken.npy.index/dear").exists()


def test_what_can_not_be_searched(make, look):
    with pytest.raises(ConfigError, match=r"--index texts\.npy: there is no index"):
        look("cloud")
    make()
    with pytest.raises(ConfigError, match="give the text to look for"):
        look()
    with pytest.raises(ConfigError, match="give the text to look for"):
        look("cloud", input="texts.txt")
    with pytest.raises(DataError, match="no such file"):
        look(input="none.txt")
    Path("texts.npy.index/manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a manifest of an index"):
        look("cloud")


def test_a_failure_leaves_the_old_index(make, look):
    make()
    before = look("cloud")[0]
    Path("texts.txt").write_bytes(b"fine\nh\xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        make()
    assert look("cloud")[0] == before
    assert sorted(path.name for path in Path().iterdir()) == ["texts.npy", "texts.npy.index", "texts.txt"]
