"""The generated sample as a corpus."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_types import Ge

import seqx

from .generate import SPLITS, Pair, Split, pairs, take
from .gist import gist, tense
from .lexicon import TABLES, lines
from .phrase_tree import chunks, detokenize, tags
from .questions import question_and_answer
from .sentiment import sentiment

Column = Literal[
    "en", "de", "tree", "gist", "tense", "question", "answer", "sentiment", "words", "tags", "chunks"
]

_MAX_KEPT = 50_000  # rows of a split that stay in memory, 13 MB in English and German
_HASHED_SENTENCES = 300  # enough for nearly all rules; generated in less than 50 ms


class Sample(seqx.Corpus):
    """English and German sentences from a synchronous grammar, with English parse trees; needs no download.

    Args:
        train: number of training sentences
        dev: number of validation sentences
        test: number of test sentences
        seed: random seed of the sentences; a seed gives the same sentences on every machine
        columns: the columns of a row. "en" and "de" are raw text, "tree" is the English tree in brackets,
            "gist" the English main clause without adverbials and relative clauses, "tense" its tense or modal
            verb, "question" a question about the English sentence, "answer" its answer in words of this
            sentence, and "sentiment" one of positive, negative and neutral. "words" has the words of the
            tree, "tags" their parts of speech, and "chunks" the tags B-NP, I-NP and O of noun phrases without
            phrases inside
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

    @property
    def languages(self) -> Sequence[str]:
        """The languages of the columns "en" and "de"."""
        return [column if column in ("en", "de") else "" for column in self._columns]

    def required_data(self, folder: Path) -> seqx.RequiredData:
        """Return no data: sentences are generated."""
        return seqx.RequiredData()

    def fetch(
        self, folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str] = seqx.SPLITS
    ) -> None:
        """Do nothing: sentences are generated when they are read."""

    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split."""
        for name in SPLITS:
            if name == split:
                yield from self._rows(name, self._counts[name])
                return
        raise seqx.UserError(f"the sample has no split {split!r}; it has {', '.join(SPLITS)}")

    def _rows(self, split: Split, count: int) -> Iterator[tuple[str, ...]]:
        if count <= _MAX_KEPT:
            return _kept_rows(self._seed, self._columns).rows(split, count)
        return (_row(pair, self._columns) for pair in take(self._seed, split, count))

    def num_rows(self, split: str) -> int | None:
        """Return the number of sentences of a split."""
        return self._counts.get(split)

    def identity(self) -> Mapping[str, object]:
        """Return the settings, and a hash that changes with the words and the rules of the grammar."""
        grammar = _grammar_hash(self._seed, self._columns)
        return {"grammar": grammar, **self._counts, "seed": self._seed, "columns": list(self._columns)}


_COLUMNS: dict[Column, Callable[[Pair], str]] = {
    "en": lambda pair: pair.english,
    "de": lambda pair: pair.german,
    "tree": lambda pair: str(pair.tree),
    "gist": lambda pair: detokenize(gist(pair.sentence).english().leaves()),
    "tense": lambda pair: tense(pair.sentence),
    "question": lambda pair: question_and_answer(pair.sentence)[0],
    "answer": lambda pair: question_and_answer(pair.sentence)[1],
    "sentiment": lambda pair: sentiment(pair.sentence),
    "words": lambda pair: " ".join(pair.tree.leaves()),
    "tags": lambda pair: " ".join(tags(pair.tree)),
    "chunks": lambda pair: " ".join(chunks(pair.tree)),
}


def _row(pair: Pair, columns: Sequence[Column]) -> tuple[str, ...]:
    return tuple(_COLUMNS[column](pair) for column in columns)


class _KeptRows:
    """The rows of all splits, generated as far as they were read, and kept for the next reading.

    All splits come from one sequence of sentences, so reading them one after the other costs one pass.
    """

    def __init__(self, seed: int, columns: Sequence[Column]) -> None:
        self._pairs = pairs(seed)
        self._columns = columns
        self._lock = threading.Lock()  # a generator must not be advanced by two threads at once
        self._rows: dict[Split, list[tuple[str, ...]]] = {split: [] for split in SPLITS}

    def rows(self, split: Split, count: int) -> Iterator[tuple[str, ...]]:
        """Yield the first `count` rows of a split."""
        rows = self._rows[split]
        for index in range(count):
            with self._lock:
                while index >= len(rows):
                    pair = next(self._pairs)
                    self._rows[pair.split].append(_row(pair, self._columns))
            yield rows[index]


_kept_rows = lru_cache(maxsize=4)(_KeptRows)


@cache
def _grammar_hash(seed: int, columns: tuple[Column, ...]) -> str:
    """Return a SHA-256 of the tables of words, and of the first sentences of a seed.

    It depends on the output of the grammar and not on its source, so cached text stays valid if only
    docstrings or names change. A change of a rule that none of these sentences uses is not noticed.
    """
    digest = hashlib.sha256()
    for name in TABLES:
        digest.update("\n".join([name, *lines(name), ""]).encode())
    for pair in islice(pairs(seed), _HASHED_SENTENCES):
        digest.update("\n".join([pair.split, *_row(pair, columns), ""]).encode())
    return digest.hexdigest()
