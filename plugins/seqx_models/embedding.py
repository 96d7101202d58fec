"""Tables of word embeddings."""

from torch import nn


def embedding(size: int, d_model: int, std: float) -> nn.Embedding:
    """A table [size, d_model] of normally distributed values."""
    table = nn.Embedding(size, d_model)
    nn.init.normal_(table.weight, std=std)
    return table
