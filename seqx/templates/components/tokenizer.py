import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import seqx


class Newcomer(seqx.Tokenizer):
    """The bytes of UTF-8 as symbols: a fixed vocabulary of 256 symbols, in which no text is unknown."""

    @property
    def size(self) -> int:
        return 256 + seqx.UNK + 1

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)

    def load(self, folder: Path) -> None:
        pass

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        return [byte + seqx.UNK + 1 for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i - seqx.UNK - 1 for i in ids if i > seqx.UNK).decode(errors="replace")


@seqx.hookimpl
def seqx_register(registry: seqx.Registry) -> None:
    registry.add(seqx.Tokenizer, newcomer=Newcomer)
