"""A Hub model is compared with sentence-transformers once, and its files are looked up once per process."""

from __future__ import annotations

import shutil

import huggingface_hub
import pytest

from embedctl.errors import ModelError
from embedctl.mining.rerank import load_cross_encoder
from embedctl.model import equivalence
from embedctl.model.trust import check_code
from embedctl.remote import hub


@pytest.fixture
def cached(tiny_model, tmp_path, monkeypatch):
    """Let every model be in the cache of the Hub; return its folder and the list of the lookups."""
    folder, lookups = shutil.copytree(tiny_model, tmp_path / "snapshot"), []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **_options: (lookups.append(name), str(folder))[1]
    )
    return folder, lookups


def test_a_comparison_is_recorded_for_the_files_of_the_model(cached):
    folder, lookups = cached
    assert not equivalence.was_compared("some/model")
    equivalence.record_comparison("some/model")
    assert equivalence.was_compared("some/model")
    assert lookups == ["some/model"]
    (folder / "README.md").write_text("another version")
    assert not equivalence.was_compared("some/model")


def test_a_failed_lookup_is_repeated(cached, monkeypatch):
    """Else a model that is found later would be loaded without the checks of its configuration files."""
    folder, _ = cached
    found = huggingface_hub.snapshot_download

    def fail(_name: str, **_options: object) -> str:
        raise OSError("not found")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert hub.configuration_folder("some/model") is None
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found)
    assert hub.configuration_folder("some/model") == folder


@pytest.mark.parametrize(
    ("name", "owned"),
    [("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"), ("bert-base-uncased", "bert-base-uncased")],
)
def test_a_name_without_an_owner_is_that_of_sentence_transformers(name, owned, cached):
    folder, lookups = cached
    assert not equivalence.was_compared(name)
    equivalence.record_comparison(name)
    assert equivalence.was_compared(name)
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "own.Model"}}')
    with pytest.raises(ModelError, match=rf"{name}: the model comes with Python code"):
        check_code(name)
    assert lookups == [owned]


def test_a_reranker_without_an_owner_is_one_of_cross_encoder(cached):
    folder, lookups = cached
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "own.Model"}}')
    with pytest.raises(ModelError, match=r"cross-encoder/ms-marco: the model comes with Python code"):
        load_cross_encoder("ms-marco", "cpu")
    assert lookups == ["cross-encoder/ms-marco"]
