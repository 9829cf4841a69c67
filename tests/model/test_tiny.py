"""Tests that the built-in model depends only on the texts and the seed, in every process."""

from __future__ import annotations

import json
import subprocess
import sys

import torch

from embedctl.model.tiny import SPECIAL, build_tiny

TEXTS = [
    f"the {colour} {animal} crossed river {number}; 月亮在{number}点升起"
    for number in range(40)
    for colour in ("scarlet", "azure", "golden")
    for animal in ("heron", "marten", "otter", "lynx")
]
SCRIPT = """
import json, sys
from embedctl.model.tiny import build_tiny
texts = json.load(sys.stdin)
print(json.dumps(build_tiny(texts, 0).tokenizer.get_vocab()))
"""


def test_another_process_learns_the_same_vocabulary():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout) == build_tiny(TEXTS, 0).tokenizer.get_vocab()


def test_equal_seeds_give_equal_weights_and_the_global_generator_is_not_changed():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (build_tiny(iter(TEXTS), seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_words_of_the_texts_are_single_tokens_and_chinese_is_split():
    tokenizer = build_tiny(TEXTS, 0).tokenizer
    assert tokenizer.tokenize("Azure heron") == ["azure", "heron"]
    assert tokenizer.tokenize("月亮在3点") == ["月", "亮", "在", "3", "点"]
    assert tokenizer.tokenize("otterlynx") != ["[UNK]"]
    assert tokenizer.decode(tokenizer("azure otter")["input_ids"]) == "[CLS] azure otter [SEP]"
    assert sorted(tokenizer.all_special_tokens) == sorted(SPECIAL)
    assert [tokenizer.convert_tokens_to_ids(token) for token in SPECIAL] == [0, 1, 2, 3, 4]
