"""The sample as a corpus."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_types import Ge

import seqx

from .feelings import feeling
from .generate import SPLITS, Pair, take
from .gist import gist, tense
from .phrase_tree import detokenize
from .questions import asked

Column = Literal["en", "de", "tree", "gist", "tense", "question", "answer", "sentiment"]


class Sample(seqx.Corpus):
    """English and German sentences from a synchronous grammar, with the English trees; nothing is fetched.

    Args:
        train: number of sentences to train on
        dev: number of sentences to validate on
        test: number of sentences to test on
        seed: which sentences; the same seed gives the same ones everywhere
        columns: what a row has: "en" and "de" are raw text, "tree" is the English tree in brackets, "gist"
            the English main clause without adverbials and relative clauses, "tense" its tense or modal verb,
            "question" asks for when, where or who and "answer" tells it in the English sentence's words,
            "sentiment" is what its words feel like: positive, negative or neutral
    """

    def __init__(
        self,
        *,
        train: Annotated[int, Ge(0)] = 20_000,
        dev: Annotated[int, Ge(0)] = 500,
        test: Annotated[int, Ge(0)] = 500,
        seed: int = 1,
        columns: tuple[Column, ...] = ("en", "de"),
    ) -> None:
        if not columns or len(set(columns)) < len(columns):
            raise ValueError(f"columns: name each column once, of {', '.join(get_args(Column))}")
        self._counts: dict[str, int] = {"train": train, "dev": dev, "test": test}
        self._seed = seed
        self._columns = columns

    @property
    def available(self) -> Sequence[str]:
        """The splits that have sentences."""
        return [split for split, count in self._counts.items() if count]

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self._columns)

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Nothing to do: the sentences are made when they are read."""

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """The rows of a split."""
        for name in SPLITS:
            if name == split:
                for pair in take(self._seed, name, self._counts[name]):
                    yield tuple(_COLUMNS[column](pair) for column in self._columns)
                return
        raise seqx.UserError(f"the sample has no split {split!r}; it has {', '.join(SPLITS)}")

    def identity(self) -> Mapping[str, object]:
        """The settings, the grammar and the words, which the sentences are a function of."""
        return {"grammar": _grammar(), **self._counts, "seed": self._seed, "columns": list(self._columns)}


_COLUMNS: dict[Column, Callable[[Pair], str]] = {
    "en": lambda pair: pair.english,
    "de": lambda pair: pair.german,
    "tree": lambda pair: str(pair.tree),
    "gist": lambda pair: detokenize(gist(pair.sentence).english().leaves()),
    "tense": lambda pair: tense(pair.sentence),
    "question": lambda pair: asked(pair.sentence)[0],
    "answer": lambda pair: asked(pair.sentence)[1],
    "sentiment": lambda pair: feeling(pair.sentence),
}


@cache
def _grammar() -> str:
    """The SHA-256 of this package's files."""
    files = sorted(resources.files(__package__).iterdir(), key=lambda file: file.name)
    texts = [file.read_bytes() for file in files if file.name.endswith((".py", ".txt"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()
