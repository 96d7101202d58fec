"""Start embeddings from pretrained vectors in word2vec's text format (Mikolov et al. 2013)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from seqx.errors import UserError
from seqx.interfaces.networks import Model
from seqx.interfaces.task import Task
from seqx.interfaces.tensors import UNK, ScaledEmbedding
from seqx.storage.text_lines import expand_path, read_lines

_WORD_START = "\u2581"  # SentencePiece's symbol for a space, with which a word begins


def embedding_problems(
    files: Mapping[Literal["source", "target"], str], model: Model
) -> Iterator[tuple[str, str]]:
    """Yield each setting of `training.embeddings` that does not fit a model, or names no file."""
    embeddings: dict[int, str] = {}
    for column, name in files.items():
        setting, file = f"training.embeddings.{column}", expand_path(name)
        embedding = model.symbol_embeddings.get(column)
        if embedding is None:
            yield setting, f"the model has no embeddings of the symbols of {column}; leave it out"
        elif (other := embeddings.setdefault(id(embedding), column)) != column:
            yield setting, f"the model ties the embeddings of {other} and {column}; set only one of both"
        if not file.is_file():
            yield setting, f"{file}: there is no such file; correct the path"
        elif not file.stat().st_size:
            yield setting, f"{file} is empty; name a file in word2vec's text format"


def load_embeddings(
    files: Mapping[Literal["source", "target"], str], model: Model, task: Task
) -> Iterator[str]:
    """Copy pretrained vectors into the embeddings of a model; yield a message about each file's coverage.

    A vector is divided by the constant with which the model multiplies embeddings, so that layers read the
    vector of the file. Symbols without a vector keep their random values.

    Args:
        files: for the columns "source" and "target", a file in word2vec's text format
        model: the model, with random weights
        task: the task, with its vocabulary

    Raises:
        UserError: a file cannot be read, or its vectors have another size than the embeddings
    """
    for column, name in files.items():
        setting, file = f"training.embeddings.{column}", expand_path(name)
        embedding = model.symbol_embeddings[column]
        ids = _ids_of_words(task.symbols(column, range(UNK + 1, embedding.num_embeddings)))
        found = set[int]()
        with torch.no_grad():
            for token, vector in _vectors(file, ids, embedding, setting):
                embedding.weight[token] = torch.from_numpy(vector / embedding.scale)
                found.add(token)
        total = embedding.num_embeddings - UNK - 1
        share = len(found) / max(1, total)
        yield (
            f"{setting}: {len(found):,} of {total:,} symbols ({share:.1%}) have a vector in {file}; the "
            "others start with random values"
        )


def _ids_of_words(symbols: list[str]) -> dict[str, int]:
    """Return the id of each symbol that is a word; of subwords, those that begin a word."""
    has_subwords = any(symbol.startswith(_WORD_START) for symbol in symbols)
    ids: dict[str, int] = {}
    for i, symbol in enumerate(symbols, UNK + 1):
        if not has_subwords:
            ids.setdefault(symbol, i)
        elif symbol.startswith(_WORD_START) and len(symbol) > 1:
            ids.setdefault(symbol[1:], i)
    return ids


def _vectors(
    file: Path, ids: Mapping[str, int], embedding: ScaledEmbedding, setting: str
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the id and the vector of each word in a file that is a symbol; of repeated words, the first one.

    The first line may have the number and the size of the vectors.

    Raises:
        UserError: the file cannot be read, ends too early, or a vector has another size than the embeddings
    """
    announced = number = 0
    size, seen = embedding.embedding_dim, set[int]()
    for number, line in enumerate(read_lines(file, errors="replace"), 1):
        fields = line.rstrip().split(" ")
        if number == 1 and len(fields) == 2 and all(field.isdecimal() for field in fields):
            announced = int(fields[0])
            _check_size(int(fields[1]), size, f"{setting}: {file}")
            continue
        if number <= 2:
            _check_size(len(fields) - 1, size, f"{setting}: {file}")
        if len(fields) <= size:
            raise UserError(f"{file}:{number}: expected a word and {size} numbers; correct the line")
        token = ids.get(" ".join(fields[:-size]))
        if token is None or token in seen:
            continue
        try:
            vector = np.array(fields[-size:], np.float32)
        except ValueError:
            vector = np.full(size, np.nan, np.float32)
        if not np.isfinite(vector).all():
            raise UserError(f"{file}:{number}: expected a word and {size} numbers; correct the line")
        seen.add(token)
        yield token, vector
    if not number:
        raise UserError(f"{setting}: {file} is empty; name a file in word2vec's text format")
    if number - 1 < announced:
        raise UserError(
            f"{file}: ends after {number - 1:,} of the {announced:,} vectors that its first line states; "
            "copy it again, or correct the first line"
        )


def _check_size(found: int, size: int, place: str) -> None:
    if found < 1:
        raise UserError(f"{place} has no vectors; name a file in word2vec's text format")
    if found != size:
        raise UserError(
            f"{place} has vectors of {found} numbers, but the embeddings of the model have {size}; set "
            f"model.d_model to {found}, or name a file with vectors of {size} numbers"
        )
