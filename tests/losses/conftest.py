"""Random unit vectors for the tests of losses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize


@pytest.fixture
def unit() -> Callable[..., Tensor]:
    """Return a function that draws random unit vectors in float64, different ones at each call."""
    generator = torch.Generator().manual_seed(7)

    def draw(rows: int, size: int = 8, grad: bool = True) -> Tensor:
        vectors = torch.randn(rows, size, generator=generator, dtype=torch.float64)
        return normalize(vectors, dim=1).requires_grad_(grad)

    return draw
