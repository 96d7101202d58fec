"""The subwords of a trained model of seqx, read without seqx."""

from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from benchmarks.peers.sizes import EOS, UNK


class Subwords:
    """A SentencePiece model of seqx. A text is encoded with a space before it, which decoding removes."""

    def __init__(self, file: Path) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(file))

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """Return the ids of lines, with EOS."""
        return [[*ids, EOS] for ids in self._processor.encode([f" {line}" for line in lines])]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special symbols."""
        text: str = self._processor.decode([i for i in ids if i > UNK])
        return text.removeprefix(" ")

    def symbols(self) -> list[str]:
        """Return all symbols; the first four are <pad>, <s>, </s> and <unk>."""
        special = ["<pad>", "<s>", "</s>", "<unk>"]
        others = range(len(special), len(self._processor))
        return special + [self._processor.id_to_piece(i) for i in others]
