"""Tests of packing: selecting texts, splitting by a token budget, packed and padded model inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embedctl.tokens.packing import Ragged, longest_first, packed_features, padded_features, split_by_budget


def ragged(*texts: list[int]) -> Ragged:
    return Ragged(
        np.array([token for text in texts for token in text], dtype=np.int32), np.array([len(text) for text in texts])
    )


def test_take_returns_the_selected_texts():
    taken = ragged([1, 2], [3], [4, 5, 6]).take(np.array([2, 0]))
    assert taken.ids.tolist() == [4, 5, 6, 1, 2]
    assert taken.lengths.tolist() == [3, 2]


@pytest.mark.parametrize("padded", [True, False])
def test_chunks_contain_all_texts_and_keep_the_budget(padded):
    draw = np.random.default_rng(1)
    lengths = draw.integers(1, 60, 200)
    lengths = lengths[longest_first(lengths)]
    chunks = split_by_budget(lengths, 100, padded=padded)
    assert [index for chunk in chunks for index in range(chunk.start, chunk.stop)] == list(range(200))
    for chunk in chunks:
        part = lengths[chunk]
        cost = part.max() * len(part) if padded else part.sum()
        assert cost <= 100 or len(part) == 1


def test_a_text_longer_than_the_budget_is_a_chunk_of_its_own():
    assert split_by_budget(np.array([500, 3, 3]), 10, padded=False) == [slice(0, 1), slice(1, 3)]


def test_packed_features_contain_boundaries_and_position_ids():
    features = packed_features(ragged([7, 8, 9], [5, 6]), position_offset=2)
    assert features["input_ids"].tolist() == [[7, 8, 9, 5, 6]]
    assert features["position_ids"].tolist() == [[2, 3, 4, 2, 3]]
    assert features["cu_seq_lens_q"].tolist() == [0, 3, 5]
    assert features["max_length_q"] == 3


def test_padded_features_are_padded_on_the_right():
    features = padded_features(ragged([7, 8, 9], [5]), pad_id=1)
    assert features["input_ids"].tolist() == [[7, 8, 9], [5, 1, 1]]
    assert features["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_positions_of_padding_tokens_inside_a_text_are_those_of_roberta():
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    texts = [[0, 7, 1, 1, 8, 2], [1, 0, 2], [0, 9, 2]]
    found = packed_features(ragged(*texts), position_offset=2)["position_ids"][0].tolist()
    create = RobertaEmbeddings.create_position_ids_from_input_ids
    assert found == [index for text in texts for index in create(torch.tensor([text]), 1)[0].tolist()]
