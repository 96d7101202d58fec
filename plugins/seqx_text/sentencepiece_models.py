"""SentencePiece models: reading a file, and the text of subwords."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import seqx

SPACE = "\u2581"
"""SentencePiece's symbol for a space."""

_MAX_LINE = 4192  # bytes of a line that SentencePiece trains on; it ignores longer ones
_PART = re.compile(r".{1,1024}(?!\S)|.{1,1024}", re.DOTALL)  # of a line; it ends before a space if it can


def short_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines, the long ones in parts, because SentencePiece ignores long lines."""
    for line in lines:
        if len(line.encode()) <= _MAX_LINE:
            yield line
        else:
            yield from _PART.findall(line)


def read_model(path: Path, max_bytes: int) -> Any:
    """Return the model in a file.

    Raises:
        UserError: the file is missing, too large, or no SentencePiece model, or a subword is not UTF-8
    """
    import sentencepiece  # noqa: PLC0415

    try:
        # SentencePiece would accept an empty file as a model without subwords.
        content = seqx.read_bounded(path, max_bytes) or b"\0"
        model = sentencepiece.SentencePieceProcessor(model_proto=content)
        for i in range(model.get_piece_size()):
            model.id_to_piece(i)  # raises an error if the subword is not UTF-8
    except (OSError, RuntimeError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise seqx.UserError(
            f"{path}: cannot be read as a SentencePiece model ({reason}); restore the file, or name another"
        ) from error
    return model


def surface(model: Any, i: int) -> bytes:
    """Return the UTF-8 bytes of the subword with id `i`, or the byte that it stands for."""
    subword: str = model.id_to_piece(i)
    return bytes([int(subword[1:-1], 16)]) if model.is_byte(i) else subword.replace(SPACE, " ").encode()
