"""The generated sample as a corpus."""

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
    """English and German sentences from a synchronous grammar, with English parse trees; needs no download.

    Args:
        train: number of training sentences
        dev: number of validation sentences
        test: number of test sentences
        seed: random seed of the sentences; a seed gives the same sentences on every machine
        columns: the columns of a row. "en" and "de" are raw text, "tree" is the English tree in brackets,
            "gist" the English main clause without adverbials and relative clauses, "tense" its tense or modal
            verb, "question" a question for when, where or who, "answer" its answer in the words of the
            English sentence, and "sentiment" is positive, negative or neutral
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
        """The splits with at least one sentence."""
        return [split for split, count in self._counts.items() if count]

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self._columns)

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Do nothing: sentences are generated when they are read."""

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split."""
        for name in SPLITS:
            if name == split:
                for pair in take(self._seed, name, self._counts[name]):
                    yield tuple(_COLUMNS[column](pair) for column in self._columns)
                return
        raise seqx.UserError(f"the sample has no split {split!r}; it has {', '.join(SPLITS)}")

    def identity(self) -> Mapping[str, object]:
        """Return what determines the sentences: the settings, and a hash of the grammar and lexicon."""
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
    """Return the SHA-256 of this package's files."""
    files = sorted(resources.files(__package__).iterdir(), key=lambda file: file.name)
    texts = [file.read_bytes() for file in files if file.name.endswith((".py", ".txt"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()
