"""Stored types, compared with sentence-transformers and with numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from embedctl.errors import ConfigError
from embedctl.storage.quantization import Quantizer

VECTORS = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["int8", "binary"])
def test_the_numbers_are_those_of_sentence_transformers(dtype):
    from sentence_transformers.util.quantization import quantize_embeddings

    expected = quantize_embeddings(VECTORS, precision=dtype)
    found = Quantizer(dtype)(VECTORS)
    assert found.dtype == np.int8
    assert (found == expected).all()


def test_int8_computed_by_hand():
    """The steps are 1 and 2 wide, values are rounded down, -128 is the first step, values out of range are clipped."""
    ranges = np.array([[0.0, -255.0], [255.0, 255.0]], dtype=np.float32)
    values = np.array([[0.0, -255.0], [255.0, 255.0], [10.5, 0.0], [-5.0, 999.0]], dtype=np.float32)
    assert Quantizer("int8", ranges)(values).tolist() == [[-128, -128], [127, 127], [-118, -1], [-128, 127]]


def test_binary_computed_by_hand():
    signs = np.array([[1, -1, 1, -1, 1, -1, 1, -1, 1]], dtype=np.float32)
    assert Quantizer("binary")(signs).tolist() == [[0b10101010 - 128, 0b10000000 - 128]]


def test_int8_uses_the_ranges_of_the_first_block():
    quantizer = Quantizer("int8")
    quantizer(VECTORS[:100])
    later = quantizer(VECTORS[100:])
    assert (quantizer.ranges == np.stack([VECTORS[:100].min(axis=0), VECTORS[:100].max(axis=0)])).all()
    assert (later == Quantizer("int8", quantizer.ranges)(VECTORS[100:])).all()
    assert (later != Quantizer("int8")(VECTORS[100:])).any()


def test_int8_of_too_few_texts_is_an_error():
    with pytest.raises(ConfigError, match="at least 100 texts"):
        Quantizer("int8")(VECTORS[:99])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_float_types_are_only_rounded(dtype):
    found = Quantizer(dtype)(VECTORS)
    assert found.dtype == dtype
    assert (found == VECTORS.astype(dtype)).all()
