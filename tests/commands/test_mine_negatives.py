"""Tests of `embedctl mine-negatives`: the written rows, messages and errors."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embedctl import console
from embedctl.commands import mine_negatives, validate_data
from embedctl.data.rows import RowKind, read_rows
from embedctl.errors import ConfigError, DataError, ModelError, Stopped
from embedctl.model.embedder import Embedder

WORDS = ["alpha", "beta", "gamma", "delta", "river", "stone", "cloud", "engine", "market", "theory"]
ROWS = [
    {"query": f"{word} {WORDS[index - 1]}", "pos": [f"{word} {WORDS[index - 1]} castle"]}
    for index, word in enumerate(WORDS)
]


def write_rows(name: str, rows: list[dict[str, object]]) -> str:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return name


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDCTL_CACHE", str(tmp_path_factory.mktemp("cache")))
    write_rows("rows.jsonl", ROWS)
    yield tmp_path
    console.configure()


@pytest.fixture
def mine(tiny_model, capsys):
    """Return a function that mines and returns the written rows, the JSON object and stderr."""

    def run(dataset: list[str] | None = None, output: str = "mined.jsonl", **flags: object):
        flags = {"neg_nums": "3", "range": "0-5"} | flags
        names = ["rows.jsonl"] if dataset is None else dataset
        flags = {"model_name_or_path": tiny_model, "dataset": names, "output": output, "device": "cpu"} | flags
        mine_negatives.command(json_output=True, **flags)
        printed = capsys.readouterr()
        lines = Path(output).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines], json.loads(printed.out), printed.err

    return run


def test_the_output_contains_valid_rows_with_mined_negatives(mine):
    rows, summary, _ = mine()
    assert [row["query"] for row in rows] == [row["query"] for row in ROWS]
    for row in rows:
        assert len(set(row["neg"])) == 3
        assert not set(row["neg"]) & {*row["pos"], row["query"]}
    assert len(list(read_rows("mined.jsonl"))) == len(ROWS)
    validate_data.command(files=["mined.jsonl"], neg_nums="3")
    assert summary == {
        "output": "mined.jsonl",
        "rows": 10,
        "corpus": 10,
        "negatives": 30,
        "short_rows": 0,
        "nearer_rows": 0,
        "rejected": {"answers": 10, "near-duplicates of answers": 0, "the query itself": 0},
        "filled": 0,
        "scored_rows": 0,
        "above_positive": 0,
        "short_file": None,
    }
    assert sorted(path.name for path in Path().iterdir()) == ["mined.jsonl", "rows.jsonl"]


def test_the_negatives_are_those_with_the_highest_dot_products(mine, tiny_model):
    rows, _, _ = mine(sampling="top")
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    passages = [row["pos"][0] for row in ROWS]
    scores = embedder.encode([row["query"] for row in ROWS]) @ embedder.encode(passages).T
    for index, row in enumerate(rows):
        ordered = [passages[other] for other in (-scores[index]).argsort() if other != index]
        assert row["neg"] == ordered[:3]


def test_old_negatives_and_scores_are_removed_and_other_keys_kept(mine):
    row = {
        "id": 7,
        "query": "河流",
        "pos": ["river stone"],
        "neg": ["cloud"],
        "pos_scores": [1.0],
        "neg_scores": [0.5],
        "prompt": "p: ",
        "source": {"a": None},
    }
    rows, _, _ = mine([write_rows("one.jsonl", [row])], corpus="rows.jsonl")
    (mined,) = rows
    assert {name: value for name, value in mined.items() if name != "neg"} == {
        "id": 7,
        "query": "河流",
        "pos": ["river stone"],
        "prompt": "p: ",
        "source": {"a": None},
    }
    assert "cloud" not in mined["neg"]
    assert len(mined["neg"]) == 3
    assert list(mined) == ["id", "query", "pos", "neg", "prompt", "source"]


def test_graded_rows_keep_their_scores(mine):
    graded = {"query": "river", "pos": ["a river", "no river"], "scores": [1.0, 0.0]}
    rows, _, _ = mine([write_rows("graded.jsonl", [graded])], corpus="rows.jsonl")
    assert rows[0]["scores"] == [1.0, 0.0]
    assert len(list(read_rows("mined.jsonl"))) == 1


def test_positives_in_other_files_and_rows_are_never_negatives(mine):
    query = ROWS[0]["query"]
    positives = [row["pos"][0] for row in ROWS[:6]]
    more = [{"query": query, "pos": [text]} for text in positives]
    rows, _, _ = mine(["rows.jsonl", write_rows("more.jsonl", more)], range="0-9")
    for row in rows:
        if row["query"] == query:
            assert not set(row["neg"]) & set(positives)
    assert len(rows) == 16


@pytest.mark.parametrize("compressed", [False, True])
def test_a_text_corpus_that_contains_the_queries(mine, compressed):
    lines = [row["query"] for row in ROWS] + ["", *(f"{word} lantern" for word in WORDS)] * 2
    content = "\n".join(lines).encode()
    name = "corpus.txt" + ".gz" * compressed
    Path(name).write_bytes(gzip.compress(content) if compressed else content)
    rows, summary, _ = mine(corpus=name, range="0-19", neg_nums="19")
    assert summary["corpus"] == 20
    assert summary["rejected"] == {"answers": 0, "near-duplicates of answers": 0, "the query itself": 10}
    for row in rows:
        assert sorted([*row["neg"], row["query"]]) == sorted(set(lines) - {""})


def test_a_corpus_smaller_than_the_range_is_reported(mine):
    rows, summary, err = mine(neg_nums="15", range="10-210")
    assert [len(row["neg"]) for row in rows] == [9] * 10
    assert (summary["short_rows"], summary["nearer_rows"]) == (10, 10)
    assert "10 rows have fewer than 15 negatives" in err
    assert "too few candidates in --range 10-210" in err


def test_equal_seeds_give_equal_negatives(mine):
    first, _, _ = mine()
    assert mine(output="again.jsonl")[0] == first
    assert mine(output="other.jsonl", seed="1")[0] != first


def test_the_prompt_of_a_row_is_used(mine):
    write_rows("prompted.jsonl", [row | {"prompt": "violin " * 30} for row in ROWS])
    plain, _, _ = mine(sampling="top")
    prompted, _, _ = mine(["prompted.jsonl"], output="p.jsonl", sampling="top")
    by_option, _, _ = mine(output="o.jsonl", sampling="top", query_prompt="violin " * 30)
    negatives = [[row["neg"] for row in rows] for rows in (plain, prompted, by_option)]
    assert negatives[1] == negatives[2] != negatives[0]


def test_an_existing_output_is_replaced_only_with_overwrite(mine):
    Path("mined.jsonl").write_text("unchanged")
    with pytest.raises(ConfigError, match=r"--output mined\.jsonl already exists"):
        mine()
    assert Path("mined.jsonl").read_text() == "unchanged"
    assert len(mine(overwrite=True)[0]) == 10


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"output": "rows.jsonl", "overwrite": True}, "--output rows.jsonl is an input"),
        ({"output": ".", "overwrite": True}, "--output . is a folder"),
        ({"range": "5-7"}, "--range 5-7 contains 2 positions, fewer than --neg-nums 3"),
        ({"range": "7-5"}, "--range 7-5 contains 0 positions"),
        ({"dataset": ["-"]}, "stdin can be read only once"),
        ({"output": "rows.jsonl/x/m"}, "--output rows.jsonl/x/m: cannot be written: Not a directory"),
        ({"report": "rows.jsonl/page.html"}, "--report rows.jsonl/page.html: cannot be written"),
    ],
)
def test_wrong_options_are_errors_before_the_model_is_loaded(mine, flags, message, monkeypatch):
    monkeypatch.setattr(Embedder, "from_pretrained", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match=message):
        mine(**flags)


def test_wrong_rows_and_an_empty_corpus_are_errors(mine):
    with pytest.raises(DataError, match=r"bad\.jsonl:1: pos: the value must be a list of strings"):
        mine([write_rows("bad.jsonl", [{"query": "q", "pos": "p"}])])
    Path("none.txt").write_text("\n\n")
    with pytest.raises(DataError, match=r"none\.txt: the file contains no passages"):
        mine(corpus="none.txt")
    assert not Path("mined.jsonl").exists()


def test_an_interrupted_run_leaves_no_output_file(mine, monkeypatch):
    def interrupt(bar, *_):
        if bar.title == "mine":
            assert list(Path().glob(".mined.jsonl.*.tmp"))
            raise KeyboardInterrupt

    monkeypatch.setattr(console.Bar, "advance", interrupt)
    with pytest.raises(Stopped, match="interrupted") as stopped:
        mine()
    assert "embeddings computed so far are cached" in stopped.value.hint
    assert [path.name for path in Path().iterdir()] == ["rows.jsonl"]


def test_a_missing_model_is_an_error():
    with pytest.raises(ModelError, match="no --model given"):
        mine_negatives.command(dataset=["rows.jsonl"], neg_nums="3")


def test_the_default_dataset_is_the_example_file(mine):
    rows, summary, err = mine([], range="0-20")
    assert summary["rows"] == len(rows) >= 100
    assert "no --dataset given; mining negatives for the example rows" in err


def test_scores_are_written_as_teacher_scores_of_the_model(mine, tiny_model):
    rows, summary, err = mine(scores=True)
    assert summary["scored_rows"] == 10
    assert "next: train another model on mined.jsonl with --teacher-temperature 0.02; the teacher" in err
    model = Embedder.from_pretrained(tiny_model, device="cpu")
    for row, parsed in zip(rows, read_rows("mined.jsonl"), strict=True):
        assert parsed.kind is RowKind.TEACHER
        query, *texts = model.encode([row["query"], *row["pos"], *row["neg"]], prompt="")
        np.testing.assert_allclose([*row["pos_scores"], *row["neg_scores"]], texts @ query, atol=1e-5)
    plain, summary, err = mine(output="plain.jsonl")
    assert summary["scored_rows"] == 0
    assert "next: embedctl train" in err
    assert [row["neg"] for row in plain] == [row["neg"] for row in rows]
    assert {row.kind for row in read_rows("plain.jsonl")} == {RowKind.HARD}


def test_kept_negatives_precede_the_mined_ones_and_are_not_mined_twice(mine):
    existing = ["alpha beta castle", "something else"]
    write_rows("existing.jsonl", [row | {"neg": existing} for row in ROWS])
    kept, _, _ = mine(["existing.jsonl"], keep_negatives=True, scores=True, corpus="rows.jsonl")
    for row in kept:
        assert row["neg"][:2] == existing
        assert len(row["neg"]) == len(set(row["neg"])) == len(row["neg_scores"]) == 5
    replaced, _, _ = mine(["existing.jsonl"], output="replaced.jsonl", corpus="rows.jsonl")
    assert all("something else" not in row["neg"] and len(row["neg"]) == 3 for row in replaced)


def test_rows_with_too_few_negatives_are_listed_with_reasons_or_filled(mine):
    _, summary, err = mine(max_score="-0.9", corpus="rows.jsonl", quiet=True)
    assert summary["short_file"] == "mined.short.jsonl"
    assert err.startswith("warning: 10 rows have fewer than 3 negatives (the output has 0 negatives for 10 rows). ")
    assert "mined.short.jsonl contains the reasons; use weaker limits" in err
    reasons = [json.loads(line) for line in Path("mined.short.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(reasons) == summary["short_rows"] == 10
    assert reasons[4] == {"row": 5, "query": ROWS[4]["query"], "negatives": 0, "wanted": 3, "candidates": 10} | {
        "rejected": {"answers": 1, "max score": 9}
    }
    filled, summary, _ = mine(max_score="-0.9", fill="relax", overwrite=True)
    assert summary["filled"] == 30
    assert summary["short_file"] is None
    assert not Path("mined.short.jsonl").exists()
    for row in filled:
        assert len(set(row["neg"]) - {*row["pos"]}) == 3


def test_a_positive_outside_the_corpus_is_scored_but_never_a_negative(mine):
    texts = [f"{word} lantern" for word in WORDS]
    Path("corpus.txt").write_text("\n".join(texts), encoding="utf-8")
    rows, summary, _ = mine(corpus="corpus.txt", scores=True)
    assert summary["corpus"] == 10
    assert all(set(row["neg"]) <= set(texts) and len(row["pos_scores"]) == 1 for row in rows)


def test_a_negative_that_is_a_positive_of_another_row_is_written_as_in_that_row(mine):
    corpus = write_rows("titled.jsonl", [{"title": "a title", "text": row["pos"][0]} for row in ROWS])
    rows, _, _ = mine(corpus=corpus, range="0-9", neg_nums="9", scores=True)
    positives = {row["pos"][0] for row in ROWS}
    assert [set(row["neg"]) for row in rows] == [positives - {*row["pos"]} for row in rows]


def test_cached_vectors_are_used_only_with_the_same_weights(mine, tiny_model, tmp_path_factory):
    copy = tmp_path_factory.mktemp("model") / "m"
    shutil.copytree(tiny_model, copy)
    first, _, err = mine(model_name_or_path=str(copy), sampling="top", scores=True)
    assert "from the cache" not in err
    again, _, err = mine(model_name_or_path=str(copy), sampling="top", scores=True, overwrite=True)
    assert again == first
    assert "read 20 embeddings from the cache" in err
    weights = copy / "model.safetensors"
    changed = {name: value + 0.3 * torch.randn_like(value) for name, value in load_file(weights).items()}
    save_file(changed, weights, metadata={"format": "pt"})
    other, _, err = mine(model_name_or_path=str(copy), sampling="top", scores=True, overwrite=True)
    assert "from the cache" not in err
    fresh, _, _ = mine(model_name_or_path=str(copy), sampling="top", scores=True, overwrite=True, no__cache=True)
    assert other == fresh != first


@pytest.mark.parametrize("flags", [{"also": "bm25"}, {"ann": "hnsw"}, {"ann": "ivf"}, {"also": "bm25", "ann": "hnsw"}])
def test_no_search_method_returns_a_positive_as_negative(mine, flags):
    rows, _, err = mine(**flags)
    for row in rows:
        assert len(set(row["neg"]) - {*row["pos"], row["query"]}) == len(row["neg"]) == 3
    assert ("compared with exact search on 10 queries" in err) is ("ann" in flags)


def test_limits_of_the_reranker_require_a_reranker(mine):
    with pytest.raises(ConfigError, match="--rerank-margin has no effect without --rerank-with"):
        mine(rerank_margin="0.1")


def test_the_report_shows_the_rows_and_a_chart(mine):
    mine(report="page.html", max_score="0.9")
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count("<section>") == 10
    assert page.count('<img alt="similarity of query and passage (embedding model)" src="data:image/svg+xml') == 1
    assert ROWS[3]["query"] in page
