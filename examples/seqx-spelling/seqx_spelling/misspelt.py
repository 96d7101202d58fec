"""A corpus of words with typing errors."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import seqx
from annotated_types import Ge, Gt

_WORD = re.compile(r"[^\W\d_]+")
_HELD_OUT = ("dev", "test")  # each has one misspelling of each word


@dataclass(kw_only=True)
class Misspelt(seqx.Corpus):
    """Rows of a misspelt and a correct word; each has one of the four common typing errors (Damerau 1964).

    The errors are an inserted, a missing or a wrong letter, and two exchanged letters. The words come
    from the training text of another corpus. Each has several misspellings; the splits have different ones.

    Args:
        text: corpus that the words come from
        column: column of that corpus, from 0
        copies: number of misspellings of each word in the training split
        shortest: smallest number of letters of a word
        most: maximum number of words, taken in alphabetical order; null: all words
        seed: seed of the errors
    """

    text: seqx.Corpus
    column: Annotated[int, Ge(0)] = 0
    copies: Annotated[int, Gt(0)] = 8
    shortest: Annotated[int, Gt(1)] = 4
    most: Annotated[int, Gt(0)] | None = None
    seed: int = 1

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Fetch the training split of the text, which all splits are made from."""
        self.text.fetch(folder, progress, ("train",))

    def identity(self) -> Mapping[str, object]:
        """Return the words and the settings, which determine all rows."""
        return {"words": self._words, "copies": self.copies, "seed": self.seed}

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield misspellings and their words."""
        for word in self._words:
            misspellings = self._misspellings(word)
            if split == "train":
                chosen = misspellings[len(_HELD_OUT) :]
            else:
                chosen = misspellings[_HELD_OUT.index(split) :][:1]
            yield from ((wrong, word) for wrong in chosen)

    def _misspellings(self, word: str) -> list[str]:
        """Return different misspellings: one for dev, one for test, then those for training."""
        rng = random.Random(f"{self.seed} {word}")  # noqa: S311  no secret
        count = len(_HELD_OUT) + self.copies
        found: dict[str, None] = {}
        for _ in range(100 * count):  # a short word may have fewer misspellings
            found.setdefault(misspell(word, self._letters, rng))
            if len(found) == count:
                break
        return list(found)

    @cached_property
    def _words(self) -> list[str]:
        found = {word.lower() for row in self.text.rows("train") for word in _WORD.findall(row[self.column])}
        return sorted(word for word in found if len(word) >= self.shortest)[: self.most]

    @cached_property
    def _letters(self) -> str:
        return "".join(sorted(set("".join(self._words))))


def misspell(word: str, letters: str, rng: random.Random) -> str:
    """Return the word with one typing error."""
    while True:
        at = rng.randrange(len(word))
        letter = rng.choice(letters)
        before, after = word[:at], word[at + 1 :]
        wrong = rng.choice(
            [
                before + letter + word[at:],
                before + after,
                before + letter + after,
                before + after[:1] + word[at] + after[1:],
            ]
        )
        if wrong != word:
            return wrong
