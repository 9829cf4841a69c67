"""Losses of embeddings. `base` contains their interface, `select` maps each kind of row to its loss."""
