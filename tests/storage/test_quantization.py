"""Stored types against sentence-transformers and against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.errors import ConfigError
from embedctl.storage.quantization import Quantizer

DRAWN = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["int8", "binary"])
def test_the_numbers_are_sentence_transformers_own(dtype):
    from sentence_transformers.util.quantization import quantize_embeddings

    theirs = quantize_embeddings(DRAWN, precision=dtype)
    found = Quantizer(dtype)(DRAWN)
    assert found.dtype == np.int8
    assert (found == theirs).all()


def test_int8_by_hand():
    """Steps of 1 and of 2, rounded down, from -128 on; what is out of range is clipped."""
    ranges = np.array([[0.0, -255.0], [255.0, 255.0]], dtype=np.float32)
    values = np.array([[0.0, -255.0], [255.0, 255.0], [10.5, 0.0], [-5.0, 999.0]], dtype=np.float32)
    assert Quantizer("int8", ranges)(values).tolist() == [[-128, -128], [127, 127], [-118, -1], [-128, 127]]


def test_binary_by_hand():
    signs = np.array([[1, -1, 1, -1, 1, -1, 1, -1, 1]], dtype=np.float32)
    assert Quantizer("binary")(signs).tolist() == [[0b10101010 - 128, 0b10000000 - 128]]


def test_int8_keeps_the_ranges_of_its_first_block():
    quantizer = Quantizer("int8")
    quantizer(DRAWN[:100])
    later = quantizer(DRAWN[100:])
    assert (quantizer.ranges == np.stack([DRAWN[:100].min(axis=0), DRAWN[:100].max(axis=0)])).all()
    assert (later == Quantizer("int8", quantizer.ranges)(DRAWN[100:])).all()
    assert (later != Quantizer("int8")(DRAWN[100:])).any()


def test_int8_of_a_few_texts_is_refused():
    with pytest.raises(ConfigError, match="at least 100 texts"):
        Quantizer("int8")(DRAWN[:99])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_floats_are_rounded_only(dtype):
    found = Quantizer(dtype)(DRAWN)
    assert found.dtype == dtype
    assert (found == DRAWN.astype(dtype)).all()
