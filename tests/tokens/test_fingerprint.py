"""A fingerprint changes with everything that changes tokens, and with nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, CanineTokenizer

from embedctl.tokens.fingerprint import tokenizer_fingerprint
from embedctl.tokens.tokenize import tokenize

TEXTS = ["river-stone", "River", "zqx", "[MASK]", "river stone cloud engine market"]


@pytest.fixture
def tokenizer(tiny_model) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def smaller_model(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.model.max_input_chars_per_word = 3


def cased(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)


def split_at_spaces(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()


def no_special_tokens(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])


def another_token(tokenizer: Any) -> None:
    tokenizer.add_tokens([AddedToken("zqx")])


def special_tokens_as_text(tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.encode_special_tokens = True


def cut_on_the_left(tokenizer: Any) -> None:
    tokenizer.truncation_side = "left"


@pytest.mark.parametrize(
    "change",
    [smaller_model, cased, split_at_spaces, no_special_tokens, another_token, special_tokens_as_text, cut_on_the_left],
)
def test_what_changes_tokens_changes_the_fingerprint(change: Callable[[Any], None], tokenizer):
    other = copy.deepcopy(tokenizer)
    change(other)
    assert tokenize(other, TEXTS, 6).ids.tolist() != tokenize(tokenizer, TEXTS, 6).ids.tolist()
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(tokenizer)


def test_lengths_padding_and_the_folder_do_not(tokenizer, tmp_path):
    before = tokenizer_fingerprint(tokenizer)
    tokenize(tokenizer, TEXTS, 3)
    tokenizer(TEXTS * 2, truncation=True, max_length=4, padding=True)
    tokenizer.padding_side, tokenizer.model_max_length = "left", 7
    assert tokenizer.backend_tokenizer.truncation
    assert tokenizer_fingerprint(tokenizer) == before
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_fingerprint(AutoTokenizer.from_pretrained(tmp_path)) == before


def test_a_tokenizer_in_python_has_one_too(tmp_path):
    """CANINE's tokens are code points, so that the vocabulary is the same for all."""
    plain = CanineTokenizer()
    before = tokenizer_fingerprint(plain)
    plain(["river"], truncation=True, max_length=3)
    assert tokenizer_fingerprint(plain) == before == tokenizer_fingerprint(CanineTokenizer(model_max_length=9))
    assert tokenizer_fingerprint(CanineTokenizer(cls_token="!")) != before
    assert tokenizer_fingerprint(CanineTokenizer(truncation_side="left")) != before
    assert tokenizer_fingerprint(CanineTokenizer(add_prefix_space=True)) != before
