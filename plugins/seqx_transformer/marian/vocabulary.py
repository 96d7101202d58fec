"""The vocabulary of a Marian model, and the order of its symbols in seqx."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import TypeAdapter

import seqx
from seqx_transformer.export.common import BOS, EOS, PAD, UNK
from seqx_transformer.marian.config import Config, Generation

_MAX_BYTES = 1 << 26
_IDS = TypeAdapter(dict[str, Annotated[int, Ge(0)]])


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of source or target, in the order of seqx.

    A Marian decoder starts with a symbol of the vocabulary, usually padding. seqx starts with BOS, which gets
    the embedding of that symbol and is never written.
    """

    symbols: list[str]
    rows: list[int]  # the id that each symbol has in the Marian model
    excluded: list[int]  # ids in seqx of the symbols whose probability is set to 0


def read_vocabularies(source: Path, config: Config, generation: Generation) -> tuple[Vocabulary, Vocabulary]:
    """Read the vocabularies of source and target, which are the same if embeddings are shared.

    Raises:
        UserError: a file cannot be read, or does not fit `config.json`
    """
    file = source / "vocab.json"
    ids = _read_ids(file, config.vocab_size)
    if config.share_encoder_decoder_embeddings:
        shared = _target(file, ids, config, generation)
        return shared, shared
    other = source / "target_vocab.json"
    if not other.exists():  # separate embeddings of one vocabulary
        other = file
    target = _target(other, _read_ids(other, config.target_size), config, generation)
    end, padding = _id(file, ids, EOS), _id(file, ids, PAD)
    return _ordered(file, ids, {PAD: padding, BOS: padding, EOS: end, UNK: _id(file, ids, UNK)}, []), target


def _read_ids(file: Path, size: int) -> dict[str, int]:
    """Read a file with the id of each symbol.

    Raises:
        UserError: the file cannot be read, or does not have one valid symbol for each id
    """
    try:
        ids = seqx.read_json_as(_IDS, file, _MAX_BYTES)
    except seqx.UserError as error:
        raise seqx.UserError(f"{error}; download the model again") from None
    try:
        "".join(ids).encode()
    except UnicodeEncodeError:  # JSON can escape one half of a surrogate pair
        raise seqx.UserError(
            f"{file}: a symbol is not valid Unicode (half of a surrogate pair); download the model again"
        ) from None
    if len(ids) != size or {*ids.values()} != {*range(size)}:
        raise seqx.UserError(
            f"{file}: must have one symbol for each id from 0 to {size - 1}, as the vocabulary size in "
            "config.json says; download the model again"
        )
    return ids


def _id(file: Path, ids: dict[str, int], symbol: str) -> int:
    if symbol not in ids:
        raise seqx.UserError(f"{file}: has no symbol {symbol}; download the model again")
    return ids[symbol]


def _target(file: Path, ids: dict[str, int], config: Config, generation: Generation) -> Vocabulary:
    """Return the vocabulary of the target, whose special symbols are those of `config.json`."""
    start, end, padding = config.decoder_start_token_id, config.eos_token_id, config.pad_token_id
    unknown = _id(file, ids, UNK)
    excluded = [seqx.PAD] if generation.renormalize_logits else []
    if start in (padding, end, unknown):
        excluded.append(seqx.BOS)
    return _ordered(file, ids, {PAD: padding, BOS: start, EOS: end, UNK: unknown}, excluded)


def _ordered(file: Path, ids: dict[str, int], special: dict[str, int], excluded: list[int]) -> Vocabulary:
    """Return a vocabulary with the special symbols first.

    Raises:
        UserError: a special symbol has another id in the file
    """
    used = set(special.values())
    others = {symbol: row for symbol, row in sorted(ids.items(), key=lambda item: item[1]) if row not in used}
    for symbol in special.keys() & others.keys():
        raise seqx.UserError(
            f"{file}: {symbol} has the id {others[symbol]}, but config.json has {special[symbol]} for it; "
            "seqx needs the same id in both files"
        )
    return Vocabulary([*special, *others], [*special.values(), *others.values()], excluded)


def write_tokenizers(source: Path, folder: Path, vocabularies: tuple[Vocabulary, Vocabulary]) -> None:
    """Write the files that the tokenizers `marian` of source and target load.

    Raises:
        UserError: a SentencePiece model is missing or damaged
    """
    sides: Any = zip(
        ("source.spm", "target.spm"), ("tokenizer", "target_tokenizer"), vocabularies, strict=True
    )
    for name, tokenizer, vocabulary in sides:
        try:
            content = seqx.read_bounded(source / name, _MAX_BYTES)
        except OSError as error:
            raise seqx.UserError(
                f"{source / name}: cannot be read ({error}); download the model again"
            ) from None
        _check_model(source / name, content)
        (folder / tokenizer).mkdir()
        (folder / tokenizer / "sentencepiece.model").write_bytes(content)
        (folder / tokenizer / "vocabulary.json").write_text(
            seqx.json_text(vocabulary.symbols, ensure_ascii=False), encoding="utf-8"
        )


def _check_model(file: Path, content: bytes) -> None:
    """Check that a file is a SentencePiece model.

    Raises:
        UserError: it is not, or a subword is not UTF-8
    """
    import sentencepiece  # noqa: PLC0415

    try:
        # SentencePiece would accept an empty file as a model without subwords.
        model = sentencepiece.SentencePieceProcessor(model_proto=content or b"\0")
        for i in range(model.get_piece_size()):
            model.id_to_piece(i)  # raises an error if the subword is not UTF-8
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise seqx.UserError(
            f"{file}: cannot be read as a SentencePiece model ({reason}); download the model again"
        ) from None
