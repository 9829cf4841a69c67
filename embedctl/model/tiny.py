"""The built-in model: a small BERT with random weights and a WordPiece vocabulary learned from the training data.

With it, all commands run within a minute on any computer, without a download. It is not meant for production.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from embedctl.model.loading import silence_transformers
from embedctl.write_errors import writing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LAYERS, HIDDEN, HEADS, INTERMEDIATE = 4, 256, 4, 1024
VOCABULARY = 12_000
MAX_LEN = 512
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def build_tiny(texts: Iterable[str], seed: int) -> SentenceTransformer:
    """Return a new built-in model with a vocabulary learned from `texts`; equal texts and seeds give equal weights."""
    from safetensors.torch import save_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel

    silence_transformers()
    tokenizer = _learn_vocabulary(texts)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INTERMEDIATE,
        max_position_embeddings=MAX_LEN,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bert = BertModel(config)
    with tempfile.TemporaryDirectory() as folder, writing(Path(folder)):
        # bert.save_pretrained would write on rank 0 only if torch.distributed is initialized
        bert.config.save_pretrained(folder)
        save_file(bert.state_dict(), Path(folder, "model.safetensors"), metadata={"format": "pt"})
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder, max_seq_length=MAX_LEN)
    return SentenceTransformer(modules=[transformer, Pooling(HIDDEN, "mean"), Normalize()], device="cpu")


def _learn_vocabulary(texts: Iterable[str]) -> Any:
    """Return a fast tokenizer with a WordPiece vocabulary that depends only on the texts, in every process.

    The trainer numbers the characters in the order of a hash map, which differs between processes, and these numbers
    decide ties. To fix their order, all characters are passed to the trainer in sorted order as special tokens.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizer

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    characters = {word[0] for word in words} | {f"##{character}" for word in words for character in word[1:]}
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=[*SPECIAL, *sorted(characters)], show_progress=False, min_frequency=2
    )
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.train_from_iterator(words.elements(), trainer)
    return BertTokenizer(trained.get_vocab(), model_max_length=MAX_LEN)
