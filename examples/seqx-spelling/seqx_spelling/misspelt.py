"""Words with typing errors."""

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
_HELD = ("dev", "test")  # of each word one misspelling is kept aside for each of them


@dataclass(kw_only=True)
class Misspelt(seqx.Corpus):
    """Rows of a misspelt word and the right one: each has one of the four errors that typists make most.

    They are a letter too much, one left out, one for another, and two that changed places (Damerau 1964).
    Words are those of the training text of another corpus, each with several misspellings; what is trained on
    is not what is tested.

    Args:
        text: where words come from
        column: the column of that corpus, from 0
        copies: misspellings of each word to train on
        shortest: letters that a word has at least
        most: words at most, the first of the alphabet; all when left out
        seed: which errors
    """

    text: seqx.Corpus
    column: Annotated[int, Ge(0)] = 0
    copies: Annotated[int, Gt(0)] = 8
    shortest: Annotated[int, Gt(1)] = 4
    most: Annotated[int, Gt(0)] | None = None
    seed: int = 1

    def fetch(self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS) -> None:
        """Have the text at hand; every split is made from its training part."""
        self.text.fetch(folder, progress, ("train",))

    def identity(self) -> Mapping[str, object]:
        """The words, which everything else follows from, and the settings."""
        return {"words": self._words, "copies": self.copies, "seed": self.seed}

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """A misspelling and its word, word by word."""
        for word in self._words:
            different = self._misspellings(word)
            held, rest = different[: len(_HELD)], different[len(_HELD) :]
            for wrong in rest if split == "train" else held[_HELD.index(split) :][:1]:
                yield wrong, word

    def _misspellings(self, word: str) -> list[str]:
        """All different: one for each split that is held out, then those to train on."""
        drawn = random.Random(f"{self.seed} {word}")  # noqa: S311  no secret
        wanted = len(_HELD) + self.copies
        found: dict[str, None] = {}
        for _ in range(100 * wanted):  # short words of few letters may not have as many
            found.setdefault(misspell(word, self._letters, drawn))
            if len(found) == wanted:
                break
        return list(found)

    @cached_property
    def _words(self) -> list[str]:
        found = {word.lower() for row in self.text.rows("train") for word in _WORD.findall(row[self.column])}
        return sorted(word for word in found if len(word) >= self.shortest)[: self.most]

    @cached_property
    def _letters(self) -> str:
        return "".join(sorted(set("".join(self._words))))


def misspell(word: str, letters: str, drawn: random.Random) -> str:
    """A word with one error; never the word itself."""
    while True:
        at = drawn.randrange(len(word))
        letter = drawn.choice(letters)
        before, after = word[:at], word[at + 1 :]
        wrong = drawn.choice(
            [
                before + letter + word[at:],
                before + after,
                before + letter + after,
                before + after[:1] + word[at] + after[1:],
            ]
        )
        if wrong != word:
            return wrong
