"""A tokenizer of characters."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import seqx
from annotated_types import Gt
from pydantic import TypeAdapter

CHARACTERS = TypeAdapter(list[str])
MAX_BYTES = 1 << 20  # of characters.json
SPECIAL = seqx.UNK + 1  # ids below are padding, BOS, EOS and unknown


class Characters(seqx.Tokenizer):
    """A tokenizer whose symbols are the most frequent characters.

    Args:
        size: largest size of the vocabulary, including the four special symbols
    """

    def __init__(self, *, size: Annotated[int, Gt(SPECIAL)] = 256) -> None:
        self._limit = size
        self._use([])

    @property
    def size(self) -> int:
        """The size of the vocabulary."""
        return SPECIAL + len(self._known) if self._known else self._limit

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Count the characters of lines, and write the most frequent ones to `folder`."""
        counts = Counter(character for line in lines for character in line)
        common = sorted(counts, key=lambda character: (-counts[character], character))
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(common[: self._limit - SPECIAL], ensure_ascii=False)
        (folder / "characters.json").write_text(text, encoding="utf-8")
        self.load(folder)

    def load(self, folder: Path) -> None:
        """Read the characters from `folder`."""
        self._use(seqx.read_json_as(CHARACTERS, folder / "characters.json", MAX_BYTES))

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Return the id of each character; `rng` has no effect."""
        return [self._ids.get(character, seqx.UNK) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the characters of ids; unknown ones become U+FFFD."""
        known = (i for i in ids if i >= seqx.UNK)
        return "".join(
            "\N{REPLACEMENT CHARACTER}" if i < SPECIAL else self._known[i - SPECIAL] for i in known
        )

    def _use(self, known: list[str]) -> None:
        self._known = known
        self._ids = {character: i for i, character in enumerate(known, SPECIAL)}
