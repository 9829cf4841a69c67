"""Losses of embeddings: `base` says what a loss is, and `select` which loss a kind of row gets."""
