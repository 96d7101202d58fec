"""Batches of pieces of similar length, and their padded tensors."""

from collections.abc import Iterator, Sequence

import torch

from seqx.inference.pieces import Piece
from seqx.interfaces.learning import Search
from seqx.interfaces.networks import Model
from seqx.interfaces.tensors import EOS, PAD, WORDS, Tokens

BATCH_TOKENS = {"cpu": 32_768, "cuda": 524_288}
"""The default maximum of padded tokens of a batch, by the type of the device."""


def output_limits(pieces: Sequence[Piece], model: Model, search: Search) -> list[int]:
    """Return the maximum output tokens for each piece, EOS excluded.

    The search sets the limit. A model with a maximum length may lower it: BOS takes one of its positions, or
    the source takes several in a model with `single_sequence`.
    """
    lengths = [piece.length - (piece.columns["source"][-1:] == [EOS]) for piece in pieces]
    limits = search.max_lengths(torch.tensor(lengths, dtype=torch.int64))
    if model.limit is not None:
        used_positions = [piece.length if model.single_sequence else 1 for piece in pieces]
        limits = limits.minimum(model.limit - torch.tensor(used_positions)).clamp_min(0)
    return limits.tolist()


def make_batches(
    pieces: Sequence[Piece], limits: Sequence[int], *, width: int, batch_tokens: int
) -> Iterator[list[int]]:
    """Yield the indices of the pieces of each batch, longest pieces first.

    Args:
        pieces: the pieces of all batches
        limits: the maximum output tokens for each piece
        width: the number of hypotheses of a piece that the search extends at once
        batch_tokens: the maximum padded tokens of a batch. Each hypothesis counts with its source and its
            longest possible output.
    """
    batch: list[int] = []
    longest = 0
    for i in sorted(range(len(pieces)), key=lambda i: -pieces[i].length):
        tokens = pieces[i].length + limits[i] + 1
        padded = max(longest, tokens)
        if batch and padded * (len(batch) + 1) * width > batch_tokens:
            yield batch
            batch, padded = [], tokens
        batch.append(i)
        longest = padded
    if batch:
        yield batch


def source_tokens(pieces: Sequence[Piece]) -> Tokens:
    """Return the padded source [B, S] of several pieces."""
    lengths = torch.tensor([piece.length for piece in pieces])
    word_starts = pad([piece.columns[WORDS] for piece in pieces]) if WORDS in pieces[0].columns else None
    return Tokens.of(pad([piece.columns["source"] for piece in pieces]), lengths, word_starts)


def pad(rows: Sequence[list[int]]) -> torch.Tensor:
    """Return a tensor [B, S] of rows of ids, padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
