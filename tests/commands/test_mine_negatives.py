"""mine-negatives from the command line: what is written, what is kept of a row, what is refused."""

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
    {"query": f"{one} {WORDS[place - 1]}", "pos": [f"{one} {WORDS[place - 1]} castle"]}
    for place, one in enumerate(WORDS)
]


def write(name: str, rows: list[dict[str, object]]) -> str:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return name


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDCTL_CACHE", str(tmp_path_factory.mktemp("cache")))
    write("rows.jsonl", ROWS)
    yield tmp_path
    console.configure()


@pytest.fixture
def mine(tiny_model, capsys):
    """Mines and gives the rows written, the JSON document and what was said."""

    def run(dataset: list[str] | None = None, output: str = "mined.jsonl", **flags: object):
        flags = {"neg_nums": "3", "range": "0-5"} | flags
        names = ["rows.jsonl"] if dataset is None else dataset
        flags = {"model_name_or_path": tiny_model, "dataset": names, "output": output, "device": "cpu"} | flags
        mine_negatives.command(json_output=True, **flags)
        printed = capsys.readouterr()
        lines = Path(output).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines], json.loads(printed.out), printed.err

    return run


def test_the_output_is_valid_data_with_new_negatives(mine):
    rows, document, _ = mine()
    assert [row["query"] for row in rows] == [row["query"] for row in ROWS]
    for row in rows:
        assert len(set(row["neg"])) == 3
        assert not set(row["neg"]) & {*row["pos"], row["query"]}
    assert len(list(read_rows("mined.jsonl"))) == len(ROWS)
    validate_data.command(files=["mined.jsonl"], neg_nums="3")
    assert document == {
        "output": "mined.jsonl",
        "rows": 10,
        "corpus": 10,
        "negatives": 30,
        "short_rows": 0,
        "nearer_rows": 0,
        "rejected": {"answers": 10, "near-duplicates of answers": 0, "the query itself": 0},
        "filled": 0,
        "above_positive": 0,
        "short_file": None,
    }
    assert sorted(path.name for path in Path().iterdir()) == ["mined.jsonl", "rows.jsonl"]


def test_the_nearest_are_those_of_a_plain_product(mine, tiny_model):
    rows, _, _ = mine(sampling="top")
    embedder = Embedder.from_pretrained(tiny_model, device="cpu")
    passages = [row["pos"][0] for row in ROWS]
    scores = embedder.encode([row["query"] for row in ROWS]) @ embedder.encode(passages).T
    for place, row in enumerate(rows):
        order = [passages[other] for other in (-scores[place]).argsort() if other != place]
        assert row["neg"] == order[:3]


def test_other_keys_stay_and_stale_ones_go(mine):
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
    rows, _, _ = mine([write("one.jsonl", [row])], corpus="rows.jsonl")
    (found,) = rows
    assert {name: value for name, value in found.items() if name != "neg"} == {
        "id": 7,
        "query": "河流",
        "pos": ["river stone"],
        "prompt": "p: ",
        "source": {"a": None},
    }
    assert "cloud" not in found["neg"]
    assert len(found["neg"]) == 3
    assert list(found) == ["id", "query", "pos", "neg", "prompt", "source"]


def test_graded_rows_keep_their_scores(mine):
    graded = {"query": "river", "pos": ["a river", "no river"], "scores": [1.0, 0.0]}
    rows, _, _ = mine([write("graded.jsonl", [graded])], corpus="rows.jsonl")
    assert rows[0]["scores"] == [1.0, 0.0]
    assert len(list(read_rows("mined.jsonl"))) == 1


def test_positives_of_other_files_and_rows_are_known(mine):
    query = ROWS[0]["query"]
    answers = [row["pos"][0] for row in ROWS[:6]]
    more = [{"query": query, "pos": [text]} for text in answers]
    rows, _, _ = mine(["rows.jsonl", write("more.jsonl", more)], range="0-9")
    for row in rows:
        if row["query"] == query:
            assert not set(row["neg"]) & set(answers)
    assert len(rows) == 16


@pytest.mark.parametrize("packed", [False, True])
def test_a_corpus_of_lines_with_the_queries_among_them(mine, packed):
    lines = [row["query"] for row in ROWS] + ["", *(f"{word} lantern" for word in WORDS)] * 2
    content = "\n".join(lines).encode()
    name = "corpus.txt" + ".gz" * packed
    Path(name).write_bytes(gzip.compress(content) if packed else content)
    rows, document, _ = mine(corpus=name, range="0-19", neg_nums="19")
    assert document["corpus"] == 20
    assert document["rejected"] == {"answers": 0, "near-duplicates of answers": 0, "the query itself": 10}
    for row in rows:
        assert sorted([*row["neg"], row["query"]]) == sorted(set(lines) - {""})


def test_a_small_corpus_still_yields_negatives_and_says_so(mine):
    rows, document, said = mine(neg_nums="15", range="10-210")
    assert [len(row["neg"]) for row in rows] == [9] * 10
    assert (document["short_rows"], document["nearer_rows"]) == (10, 10)
    assert "10 rows with fewer than 15 negatives" in said
    assert "too few candidates for --range 10-210" in said


def test_the_seed_decides_and_nothing_else(mine):
    first, _, _ = mine()
    assert mine(output="again.jsonl")[0] == first
    assert mine(output="other.jsonl", seed="1")[0] != first


def test_a_rows_own_prompt_is_used(mine):
    write("prompted.jsonl", [row | {"prompt": "violin " * 30} for row in ROWS])
    plain, _, _ = mine(sampling="top")
    prompted, _, _ = mine(["prompted.jsonl"], output="p.jsonl", sampling="top")
    given, _, _ = mine(output="g.jsonl", sampling="top", query_prompt="violin " * 30)
    negatives = [[row["neg"] for row in rows] for rows in (plain, prompted, given)]
    assert negatives[1] == negatives[2] != negatives[0]


def test_an_output_is_replaced_only_if_asked_for(mine):
    Path("mined.jsonl").write_text("precious")
    with pytest.raises(ConfigError, match=r"--output mined\.jsonl: exists"):
        mine()
    assert Path("mined.jsonl").read_text() == "precious"
    assert len(mine(overwrite=True)[0]) == 10


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"output": "rows.jsonl", "overwrite": True}, "--output rows.jsonl: is an input"),
        ({"output": ".", "overwrite": True}, "--output .: is a folder"),
        ({"range": "5-7"}, "--range 5-7 contains 2 positions, fewer than --neg-nums 3"),
        ({"range": "7-5"}, "--range 7-5 contains 0 positions"),
        ({"dataset": ["-"]}, "--dataset -: rows are read twice"),
        ({"output": "rows.jsonl/x/m"}, "--output rows.jsonl/x/m: can't be written: Not a directory"),
        ({"report": "rows.jsonl/page.html"}, "--report rows.jsonl/page.html: can't be written"),
    ],
)
def test_what_is_refused_before_the_model_is_loaded(mine, flags, message, monkeypatch):
    monkeypatch.setattr(Embedder, "from_pretrained", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match=message):
        mine(**flags)


def test_wrong_rows_and_an_empty_corpus_are_named(mine):
    with pytest.raises(DataError, match=r"bad\.jsonl:1: pos: the value must be a list of strings"):
        mine([write("bad.jsonl", [{"query": "q", "pos": "p"}])])
    Path("none.txt").write_text("\n\n")
    with pytest.raises(DataError, match=r"none\.txt: has no passages"):
        mine(corpus="none.txt")
    assert not Path("mined.jsonl").exists()


def test_a_failure_leaves_no_half_file(mine, monkeypatch):
    def interrupt(bar, *_):
        if bar.title == "mine":
            assert Path(".mined.jsonl.tmp").exists()
            raise KeyboardInterrupt

    monkeypatch.setattr(console.Bar, "advance", interrupt)
    with pytest.raises(Stopped, match="interrupted") as stopped:
        mine()
    assert "embeddings computed so far are cached" in stopped.value.hint
    assert [path.name for path in Path().iterdir()] == ["rows.jsonl"]


def test_there_is_no_model_to_mine_with():
    with pytest.raises(ModelError, match="no model"):
        mine_negatives.command(dataset=["rows.jsonl"], neg_nums="3")


def test_without_rows_the_example_rows(mine):
    rows, document, said = mine([], range="0-20")
    assert document["rows"] == len(rows) >= 100
    assert "no --dataset: mining for the example rows" in said


def test_scores_make_rows_to_distil_from_and_are_the_models(mine, tiny_model):
    rows, _, _ = mine(scores=True)
    model = Embedder.from_pretrained(tiny_model, device="cpu")
    for row, written in zip(rows, read_rows("mined.jsonl"), strict=True):
        assert written.kind is RowKind.TEACHER
        query, *texts = model.encode([row["query"], *row["pos"], *row["neg"]], prompt="")
        np.testing.assert_allclose([*row["pos_scores"], *row["neg_scores"]], texts @ query, atol=1e-5)
    plain, _, _ = mine(output="plain.jsonl")
    assert [row["neg"] for row in plain] == [row["neg"] for row in rows]
    assert {row.kind for row in read_rows("plain.jsonl")} == {RowKind.HARD}


def test_own_negatives_are_kept_in_front_and_not_mined_again(mine):
    own = ["alpha beta castle", "something else"]
    write("own.jsonl", [row | {"neg": own} for row in ROWS])
    kept, _, _ = mine(["own.jsonl"], keep_negatives=True, scores=True, corpus="rows.jsonl")
    for row in kept:
        assert row["neg"][:2] == own
        assert len(row["neg"]) == len(set(row["neg"])) == len(row["neg_scores"]) == 5
    replaced, _, _ = mine(["own.jsonl"], output="replaced.jsonl", corpus="rows.jsonl")
    assert all("something else" not in row["neg"] and len(row["neg"]) == 3 for row in replaced)


def test_rows_with_fewer_are_told_with_their_reasons_or_filled(mine):
    _, document, said = mine(max_score="-0.9", corpus="rows.jsonl")
    assert document["short_file"] == "mined.short.jsonl"
    assert "mined.short.jsonl" in said
    reasons = [json.loads(line) for line in Path("mined.short.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(reasons) == document["short_rows"] == 10
    assert reasons[4] == {"row": 5, "query": ROWS[4]["query"], "negatives": 0, "wanted": 3, "candidates": 7} | {
        "rejected": {"answers": 1, "max score": 6}
    }
    filled, document, _ = mine(max_score="-0.9", fill="relax", overwrite=True)
    assert document["filled"] == 30
    assert document["short_file"] is None
    assert not Path("mined.short.jsonl").exists()
    for row in filled:
        assert len(set(row["neg"]) - {*row["pos"]}) == 3


def test_an_answer_that_the_corpus_lacks_is_measured_but_never_taken(mine):
    texts = [f"{word} lantern" for word in WORDS]
    Path("corpus.txt").write_text("\n".join(texts), encoding="utf-8")
    rows, document, _ = mine(corpus="corpus.txt", scores=True)
    assert document["corpus"] == 10
    assert all(set(row["neg"]) <= set(texts) and len(row["pos_scores"]) == 1 for row in rows)


def test_vectors_are_kept_between_runs_but_not_across_weights(mine, tiny_model, tmp_path_factory):
    copy = tmp_path_factory.mktemp("model") / "m"
    shutil.copytree(tiny_model, copy)
    first, _, said = mine(model_name_or_path=str(copy), sampling="top", scores=True)
    assert "from the cache" not in said
    again, _, said = mine(model_name_or_path=str(copy), sampling="top", scores=True, overwrite=True)
    assert again == first
    assert "read 20 embeddings from the cache" in said
    weights = copy / "model.safetensors"
    changed = {name: value + 0.3 * torch.randn_like(value) for name, value in load_file(weights).items()}
    save_file(changed, weights, metadata={"format": "pt"})
    other, _, said = mine(model_name_or_path=str(copy), sampling="top", scores=True, overwrite=True)
    assert "from the cache" not in said
    fresh, _, _ = mine(model_name_or_path=str(copy), sampling="top", scores=True, overwrite=True, no__cache=True)
    assert other == fresh != first


@pytest.mark.parametrize("flags", [{"also": "bm25"}, {"ann": "hnsw"}, {"ann": "ivf"}, {"also": "bm25", "ann": "hnsw"}])
def test_other_ways_to_find_never_give_an_answer(mine, flags):
    rows, _, said = mine(**flags)
    for row in rows:
        assert len(set(row["neg"]) - {*row["pos"], row["query"]}) == len(row["neg"]) == 3
    assert ("nearest (exact search on 10 of the queries)" in said) is ("ann" in flags)


def test_limits_of_a_judge_need_one(mine):
    with pytest.raises(ConfigError, match="require --rerank-with"):
        mine(rerank_margin="0.1")


def test_a_page_to_read_is_written_if_asked_for(mine):
    mine(report="page.html", max_score="0.9")
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count("<section>") == 10
    assert page.count('<img alt="cosine similarity of query and passage (embedding model)" src="data:image/svg+xml;base64,') == 1
    assert ROWS[3]["query"] in page
