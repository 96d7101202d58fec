"""Rows of corpora, and texts that identify their values."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from seqx.errors import UserError

Row = tuple[Any, ...]
"""A row of a corpus: for each column text, a number, bytes, an array, or a nest of these."""


def row_texts(row: Row) -> tuple[str, ...]:
    """Return a text for each value of a row: the value itself, or a text that only equal values have."""
    return tuple(value if type(value) is str else value_text(value) for value in row)


def value_text(value: Any) -> str:
    """Return a text that only equal values have: the value itself if it is a text, otherwise its digest.

    The text of an empty array is empty.

    Raises:
        UserError: the value has a type that cannot be compared
    """
    if isinstance(value, str):
        return value
    if isinstance(value, torch.Tensor):
        value = value.numpy(force=True)
    if isinstance(value, np.ndarray):
        return f"<{value.dtype} {list(value.shape)} {_digest(value)}>" if value.size else ""
    return f"<{type(value).__name__} {_digest(value)}>"


def _digest(value: Any) -> str:
    return hashlib.blake2b(_encoded(value), digest_size=16).hexdigest()


def _encoded(value: Any) -> bytes:
    """Return bytes that only equal values have."""
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return repr(value).encode(errors="surrogatepass")
        case torch.Tensor():
            return _encoded(value.numpy(force=True))
        case np.ndarray() | np.generic() if value.dtype.kind in "biufcUS":
            return f"{value.dtype.str} {value.shape} ".encode() + value.tobytes()
        case list() | tuple():
            return b"[" + b",".join(_with_length(_encoded(item)) for item in value) + b"]"
        case Mapping():
            return b"{" + b",".join(_with_length(_encoded(item)) for item in sorted(value.items())) + b"}"
    raise UserError(
        f"a row of the corpus has a value of type {type(value).__name__}; use text, numbers, bytes, numpy "
        "arrays, and lists, tuples and dicts of these"
    )


def _with_length(content: bytes) -> bytes:
    return f"{len(content)}:".encode() + content
