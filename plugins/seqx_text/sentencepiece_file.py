"""A tokenizer that uses an existing SentencePiece model."""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import seqx
from seqx_text.sentencepiece_models import read_model, surface

_FILE = "sentencepiece.model"
_FIRST = seqx.UNK + 1
_MAX_BYTES = 1 << 28


class SentencePieceFile(seqx.Tokenizer):
    """An existing SentencePiece model, which is copied into the model folder.

    The model normalizes text as it did for the program that trained it. Its control symbols, such as <s>, are
    replaced by those of seqx, so ids differ from those of other programs. Segmentations are not sampled.

    Args:
        file: the model, such as source.spm or tokenizer.model; it is read once, before training
    """

    def __init__(self, *, file: str) -> None:
        self._path = file
        self._processor: Any = None
        self._ids: dict[int, int] = {}  # from the ids of the model to those of seqx
        self._pieces: list[int] = []  # the id in the model of each id from `_FIRST` on

    def setting_errors(self) -> list[tuple[str, str]]:
        """Report a file that cannot be read as a model."""
        try:
            self._read()
        except seqx.UserError as error:
            return [("file", str(error))]
        return []

    def identity(self) -> Mapping[str, object]:
        """Return the SHA-256 of the model."""
        model = self._read() if self._processor is None else self._processor
        return {"sha256": hashlib.sha256(model.serialized_model_proto()).hexdigest()}

    @property
    def size(self) -> int:
        """The number of ids."""
        if self._processor is None:
            self._use(self._read())
        return _FIRST + len(self._pieces)

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Copy the model into `folder`; the lines are not read."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_bytes(self._read().serialized_model_proto())
        self.load(folder)

    def load(self, folder: Path) -> None:
        """Load the model from `folder`."""
        self._use(read_model(folder / _FILE, _MAX_BYTES))

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Return ids without BOS and EOS; `rng` has no effect."""
        return [self._ids.get(piece, seqx.UNK) for piece in self._processor.encode(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; UNK is written as the model writes it."""
        unknown = self._processor.unk_id()
        return self._processor.decode(
            [self._pieces[i - _FIRST] if i >= _FIRST else unknown for i in ids if i >= seqx.UNK]
        )

    def symbols(self, ids: Sequence[int]) -> list[str]:
        """Return the subwords, with U+2581 for a space."""
        return [
            self._processor.id_to_piece(self._pieces[i - _FIRST]) if i >= _FIRST else "<unk>" for i in ids
        ]

    def surfaces(self) -> Sequence[bytes | None]:
        """Return the UTF-8 bytes of each id.

        The bytes of an encoded text begin with a space, which `decode` removes.
        """
        return [None] * _FIRST + [surface(self._processor, piece) for piece in self._pieces]

    def _read(self) -> Any:
        """Return the existing model."""
        return read_model(seqx.expand_path(self._path), _MAX_BYTES)

    def _use(self, processor: Any) -> None:
        self._processor = processor
        self._pieces = [
            piece
            for piece in range(processor.get_piece_size())
            if not (processor.is_control(piece) or processor.is_unknown(piece) or processor.is_unused(piece))
        ]
        self._ids = {piece: i for i, piece in enumerate(self._pieces, _FIRST)}
