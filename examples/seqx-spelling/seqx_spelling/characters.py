"""Characters as symbols."""

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
LARGEST = 1 << 20  # bytes of the file
SPECIAL = seqx.UNK + 1  # ids below are padding, begin, end and unknown


class Characters(seqx.Tokenizer):
    """Every character is a token; the most frequent ones are known.

    Args:
        size: most ids, the four special ones among them
    """

    def __init__(self, *, size: Annotated[int, Gt(SPECIAL)] = 256) -> None:
        self._limit = size
        self._use([])

    @property
    def size(self) -> int:
        """The number of ids."""
        return SPECIAL + len(self._known) if self._known else self._limit

    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Count the characters of lines."""
        counts = Counter(character for line in lines for character in line)
        common = sorted(counts, key=lambda character: (-counts[character], character))
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(common[: self._limit - SPECIAL], ensure_ascii=False)
        (folder / "characters.json").write_text(text, encoding="utf-8")
        self.load(folder)

    def load(self, folder: Path) -> None:
        """Use the characters that were counted."""
        self._use(seqx.read_json_as(CHARACTERS, folder / "characters.json", LARGEST))

    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """The id of each character; there is one way only."""
        return [self._ids.get(character, seqx.UNK) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        """The characters of ids; an unknown one is shown as such."""
        known = (i for i in ids if i >= seqx.UNK)
        return "".join(
            "\N{REPLACEMENT CHARACTER}" if i < SPECIAL else self._known[i - SPECIAL] for i in known
        )

    def _use(self, known: list[str]) -> None:
        self._known = known
        self._ids = {character: i for i, character in enumerate(known, SPECIAL)}
