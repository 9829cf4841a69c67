"""The similarity functions of embedding models: how vectors are prepared, compared and indexed.

The functions and their names are those of sentence-transformers. A higher score means more similar, so a distance has a
negative score. Dimensions: Q queries, D documents, N documents compared with one query, H of the vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Vectors = NDArray[np.float32]


def normalize(vectors: Vectors) -> Vectors:
    """Return the vectors (N, H) scaled to length 1; a zero vector stays zero."""
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths.clip(1e-12), dtype=np.float32)


@dataclass(frozen=True)
class Similarity(ABC):
    """A similarity function. Vectors are compared after `prepare`."""

    name: str  # `similarity_fn_name` of sentence-transformers
    faiss_metric: str  # name of the constant in faiss

    def prepare(self, vectors: Vectors) -> Vectors:
        """Return vectors (N, H) of a model as the other functions need them; they are unchanged by default."""
        return vectors

    @abstractmethod
    def scores(self, query_QH: Tensor, document_DH: Tensor) -> Tensor:
        """Return the scores (Q, D) of all pairs."""

    @abstractmethod
    def pair_scores(self, query_H: Vectors, document_NH: Vectors) -> Vectors:
        """Return the scores (N,) of one query with N documents."""

    @abstractmethod
    def from_faiss(self, values: Vectors) -> Vectors:
        """Return the scores for the values that a faiss index returns."""


class InnerProduct(Similarity):
    """The inner product (dot product)."""

    def scores(self, query_QH: Tensor, document_DH: Tensor) -> Tensor:
        """See `Similarity`."""
        return query_QH @ document_DH.T

    def pair_scores(self, query_H: Vectors, document_NH: Vectors) -> Vectors:
        """See `Similarity`."""
        return np.asarray(document_NH @ query_H, dtype=np.float32)

    def from_faiss(self, values: Vectors) -> Vectors:
        """See `Similarity`."""
        return values


class Cosine(InnerProduct):
    """The cosine similarity: the inner product of vectors with length 1."""

    def prepare(self, vectors: Vectors) -> Vectors:
        """Return the vectors scaled to length 1."""
        return normalize(vectors)


@dataclass(frozen=True)
class Distance(Similarity):
    """The negative distance."""

    order: int  # of the norm: 1 is the Manhattan distance, 2 the Euclidean distance

    def scores(self, query_QH: Tensor, document_DH: Tensor) -> Tensor:
        """See `Similarity`. Distances are not computed from inner products, which rounds short ones to 0."""
        mode = "donot_use_mm_for_euclid_dist"
        return -torch.cdist(query_QH, document_DH, p=float(self.order), compute_mode=mode)

    def pair_scores(self, query_H: Vectors, document_NH: Vectors) -> Vectors:
        """See `Similarity`."""
        return np.asarray(-np.linalg.norm(document_NH - query_H, ord=self.order, axis=1), dtype=np.float32)

    def from_faiss(self, values: Vectors) -> Vectors:
        """See `Similarity`. The value of faiss for the Euclidean distance is its square."""
        return np.asarray(-(values.clip(0) ** (1 / self.order)), dtype=np.float32)


COSINE = Cosine("cosine", "METRIC_INNER_PRODUCT")
DOT = InnerProduct("dot", "METRIC_INNER_PRODUCT")
EUCLIDEAN = Distance("euclidean", "METRIC_L2", 2)
MANHATTAN = Distance("manhattan", "METRIC_L1", 1)
SIMILARITIES: dict[str, Similarity] = {one.name: one for one in (COSINE, DOT, EUCLIDEAN, MANHATTAN)}
