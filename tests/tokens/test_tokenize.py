"""Tests that shortening a text does not change its tokens, and that a fingerprint changes if and only if tokens do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, ByT5Tokenizer

from embedctl.model.tiny import build_tiny
from embedctl.tokens import tokenize as tokens
from embedctl.tokens.tokenize import tokenize, tokenizer_fingerprint

WORDS = ["river", "stone", "a", "é", "e\u0301", "\u0301", "antidisestablishmentarianism", "x" * 120, "don't", "...",
         "城市", "水", "３", "東京都に", "한국어", "ไทย", "\U00020000", "\x00", "\u200b", "[MASK]"]  # fmt: skip
SPACES = [" ", "  ", "\n", "\t", "\u00a0", "\u3000", ""]
texts = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SPACES)), max_size=200).map(
    lambda parts: "".join(word + space for word, space in parts)
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tiny([" ".join(WORDS)] * 3, 0).tokenizer


def tokens_of_whole_texts(tokenizer: Any, texts: list[str], max_len: int) -> list[list[int]]:
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(max_len, direction=tokenizer.truncation_side)
    return [encoding.ids for encoding in backend.encode_batch(texts)]


def same_tokens(tokenizer: Any, texts: list[str], max_len: int) -> bool:
    actual = tokenize(tokenizer, texts, max_len)
    expected = tokens_of_whole_texts(tokenizer, texts, max_len)
    return actual.ids.tolist() == list(chain.from_iterable(expected)) and actual.lengths.tolist() == [
        len(ids) for ids in expected
    ]


@settings(deadline=None, max_examples=200)
@given(parts=st.lists(texts, max_size=6), max_len=st.sampled_from([4, 5, 8, 16]))
def test_a_shortened_text_has_the_tokens_of_the_whole_text(tokenizer: Any, parts: list[str], max_len: int):
    assert same_tokens(tokenizer, parts, max_len)


def test_only_the_beginning_of_a_long_text_is_tokenized(tokenizer: Any, monkeypatch: pytest.MonkeyPatch):
    lengths: list[int] = []
    shorten = tokens._shorten
    monkeypatch.setattr(tokens, "_shorten", lambda *args: lengths.append(len(shorten(*args))) or shorten(*args))
    long = ["river stone " * 1000, "城市水" * 1000]
    assert same_tokens(tokenizer, long, 16)
    assert max(lengths) < 120


def test_a_shortened_text_with_too_few_tokens_is_tokenized_as_a_whole(tokenizer: Any):
    assert same_tokens(tokenizer, [f"{'x' * 120} " * 40, " " * 5000 + "river stone " * 20], 16)


@pytest.mark.parametrize("change", ["added", "left", "word level"])
def test_texts_are_not_shortened_for_other_tokenizers(tokenizer: Any, change: str):
    other = copy.deepcopy(tokenizer)
    if change == "added":  # a token that contains a space could be split by the cut
        other.add_tokens([AddedToken("river stone", normalized=False)])
    elif change == "left":
        other.truncation_side = "left"
    else:
        backend = Tokenizer(models.WordLevel({"river": 0, "stone": 1, "[UNK]": 2}, unk_token="[UNK]"))
        backend.normalizer, backend.pre_tokenizer = normalizers.NFC(), pre_tokenizers.Whitespace()
        other._tokenizer = backend
    assert tokens._word_boundary(other) is None
    assert same_tokens(other, ["stone river stone " * 60], 16)


def test_the_cut_does_not_create_a_match_of_a_single_word_token(tokenizer: Any):
    other = copy.deepcopy(tokenizer)
    other.add_tokens([AddedToken("zqx", single_word=True, normalized=False)])
    assert same_tokens(other, ["river " * 5 + " " * 15 + "zqx" + "城市" * 40], 8)


@pytest.mark.parametrize("prompt", ["query: ", "为这个句子生成表示："])
def test_a_cased_tokenizer_with_a_prompt(tokenizer: Any, prompt: str):
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    assert same_tokens(other, [prompt + "River e\u0301 城市 stone " * 80, prompt + "城市水" * 200], 64)


def test_unsplit_chinese_text_is_cut_at_spaces_only(tokenizer: Any):
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False)
    assert tokens._word_boundary(other) is tokens.SPACE
    assert same_tokens(other, ["城市水" * 400, "城市水 " * 400], 16)


def test_an_empty_list_has_no_tokens(tokenizer: Any):
    assert len(tokenize(tokenizer, [], 16)) == 0


TEXTS = ["river-stone", "River", "zqx", "[MASK]", "river stone cloud engine market"]


@pytest.fixture
def pretrained(tiny_model) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def limit_word_length(pretrained: Any) -> None:
    pretrained.backend_tokenizer.model.max_input_chars_per_word = 3


def keep_case(pretrained: Any) -> None:
    pretrained.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)


def split_at_spaces(pretrained: Any) -> None:
    pretrained.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()


def omit_special_tokens(pretrained: Any) -> None:
    pretrained.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])


def add_token(pretrained: Any) -> None:
    pretrained.add_tokens([AddedToken("zqx")])


def encode_special_tokens_as_text(pretrained: Any) -> None:
    pretrained.backend_tokenizer.encode_special_tokens = True


def truncate_on_the_left(pretrained: Any) -> None:
    pretrained.truncation_side = "left"


@pytest.mark.parametrize(
    "change",
    [
        limit_word_length,
        keep_case,
        split_at_spaces,
        omit_special_tokens,
        add_token,
        encode_special_tokens_as_text,
        truncate_on_the_left,
    ],
)
def test_a_change_of_tokens_changes_the_fingerprint(change: Callable[[Any], None], pretrained):
    other = copy.deepcopy(pretrained)
    change(other)
    assert tokenize(other, TEXTS, 6).ids.tolist() != tokenize(pretrained, TEXTS, 6).ids.tolist()
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(pretrained)


def test_lengths_padding_and_folder_do_not_change_the_fingerprint(pretrained, tmp_path):
    before = tokenizer_fingerprint(pretrained)
    tokenize(pretrained, TEXTS, 3)
    pretrained(TEXTS * 2, truncation=True, max_length=4, padding=True)
    pretrained.padding_side, pretrained.model_max_length = "left", 7
    assert pretrained.backend_tokenizer.truncation
    assert tokenizer_fingerprint(pretrained) == before
    pretrained.save_pretrained(tmp_path)
    assert tokenizer_fingerprint(AutoTokenizer.from_pretrained(tmp_path)) == before


def test_a_python_tokenizer_has_a_fingerprint(tmp_path):
    """ByT5's tokens are bytes, so all instances have the same vocabulary."""
    tokenizer = ByT5Tokenizer()
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["river"], truncation=True, max_length=3)
    assert tokenizer_fingerprint(tokenizer) == before == tokenizer_fingerprint(ByT5Tokenizer(model_max_length=9))
    assert tokenizer_fingerprint(ByT5Tokenizer(eos_token="!")) != before
    assert tokenizer_fingerprint(ByT5Tokenizer(truncation_side="left")) != before
    assert tokenizer_fingerprint(ByT5Tokenizer(add_prefix_space=True)) != before
