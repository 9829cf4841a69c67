"""embedctl: fine-tune, encode with and evaluate text-embedding models from one console app."""

__version__ = "0.1.0"
