"""The interfaces of text and tasks: normalizers, tokenizers, corpora, metrics, tasks."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from seqx.errors import UserError
from seqx.interfaces.codec import Codec
from seqx.interfaces.learning import Grammar
from seqx.interfaces.nbest import NBest
from seqx.interfaces.values import AnswerWarning, Evaluation, Example, Rejected, Request, Score

SPLITS = ("train", "dev", "test")
"""The parts of a corpus: to learn from, to validate with, to be judged by."""

ProgressReporter = Callable[[str, float | None], None]
"""Told what is being done, and which share of it is done (0 to 1, None where nobody knows)."""


Problem = tuple[str, str]
"""The name of a setting, such as `train.0` for the first item of `train`, and its problem."""


class Normalizer(ABC):
    """Changes text before it is tokenized, and changes outputs back. Travels with the model."""

    @abstractmethod
    def __call__(self, text: str) -> str:
        """The text as the model is to see it."""

    def restore(self, text: str) -> str:
        """The model's output as a person is to see it."""
        return text


class Tokenizer(Codec, ABC):
    """Turns text into ids and back. PAD, BOS, EOS and UNK are 0 to 3; of these `encode` gives only UNK."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of ids: before learning what the settings ask for, after it what was learnt."""

    @abstractmethod
    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Learn from lines of text, which are read once, and keep what was learnt in `folder`."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Use what was learnt into `folder`."""

    @abstractmethod
    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Ids without BOS and EOS; with `rng` one of several encodings (subword regularisation)."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; PAD, BOS and EOS say nothing."""

    def symbols(self, ids: Sequence[int]) -> list[str]:
        """How people call each of some ids, spaces included where the tokenizer has a sign for them."""
        return [self.decode([token]) for token in ids]

    def surfaces(self) -> Sequence[bytes | None]:
        """The UTF-8 bytes that each id writes; None of those that do not say, PAD, BOS and EOS among them.

        Those of a text's ids, put together, are the text and what `decode` takes away. An id may write a part
        of a character.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its ids write")


class Corpus(ABC):
    """Where text comes from: rows of as many strings as there are columns."""

    unique: bool = True
    """Whether training rows that are repeated are to be left out; otherwise they are repeated on purpose."""

    @property
    def available(self) -> Sequence[str]:
        """The splits that the corpus has ("train", "dev", "test"), known before `fetch`; by default all."""
        return SPLITS

    @property
    def width(self) -> int | None:
        """The number of columns, or None if it is not known before `fetch`."""
        return None

    def setting_errors(self) -> Iterable[Problem]:
        """Return problems that are quick to find and that `fetch` would refuse, such as missing files."""
        return ()

    @abstractmethod
    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Have the rows of `splits` at hand, in `folder` if they must be kept; does nothing the second time.

        What only other splits need may be missing: whoever scores a model needs no training text.

        Raises:
            UserError: what is missing, and what to do
        """

    @abstractmethod
    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """The rows of "train", "dev" or "test", in an order that is always the same.

        Raises:
            UserError: with file and line, for text that cannot be read
        """

    def place(self, split: str, row: int) -> str:
        """Return the place of a row of a split, counted from 0, for messages: file and line, if known."""
        return f"row {row + 1:,} of {split}"

    def identity(self) -> Mapping[str, object]:
        """What the rows are made from, as plain values: equal identities give equal rows (cached by it).

        Paths alone do not identify text: sizes, times or hashes do. Valid after a `fetch` of all its splits.
        """
        return {}


class Metric(ABC):
    """Compares outputs with references."""

    @abstractmethod
    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, Score]:
        """Return the scores by name, the main score first."""

    def setting_errors(self) -> Iterable[Problem]:
        """Return problems that prevent computing it, such as a missing file or package."""
        return ()

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Return warnings about scores against these references, a line each.

        `outputs` are the scored texts, if they are known.
        """
        return ()

    def report(self, outputs: Sequence[str], references: Sequence[str]) -> str:
        """The scores in lines of text, and whatever else explains them."""
        scores = self(outputs, references)
        return "".join(f"{name} {score}\n" for name, score in scores.items())


@dataclass(frozen=True)
class Split:
    """The rows of a split, which were read once."""

    name: str  # train, dev or test
    rows: Sequence[tuple[str, ...]]


class TextModel(Protocol):
    """The methods of `seqx.Predictor` with which a task evaluates a model."""

    @property
    def max_length(self) -> int:
        """The maximum tokens of an input, EOS included, that is answered in one piece."""
        ...

    def __call__(self, texts: Iterable[str]) -> list[str]:
        """Return the best answer to each text, in the order of the texts; "" if there is none."""
        ...

    def hypotheses(self, texts: Iterable[str]) -> Iterable[NBest]:
        """Yield the n-best list of each text with its warnings, in the order of the texts."""
        ...

    def logprobs(self, examples: Sequence[Example]) -> list[float | None]:
        """Return the natural log-probability of each example's target, given its other columns.

        None: the example is too long to be scored in one forward pass.
        """
        ...


class Task(ABC):
    """What is learnt, from which text, and how well: codec and judge. Knows no model and no search."""

    max_length: int | None = None
    """The most tokens of an input that it was trained on, when there is such a limit."""

    resegments: bool = False
    """Whether examples are to be encoded anew in each epoch, by `encode`."""

    many_eos: bool = False
    """Whether targets are stretches of running text, in which EOS ends each line, rather than answers, which
    end with their only EOS."""

    @property
    def unique(self) -> bool:
        """Whether training rows that are repeated are to be left out (see Corpus)."""
        return True

    @property
    def available(self) -> Sequence[str]:
        """The splits that the task has ("train", "dev", "test"), known before `fetch`."""
        return SPLITS

    def setting_errors(self) -> Iterable[Problem]:
        """Return problems that are quick to find and that `fetch` would refuse."""
        return ()

    @property
    @abstractmethod
    def vocab_sizes(self) -> Mapping[str, int]:
        """The vocabulary of each column the model sees, after `learn` or `load` exactly."""

    @abstractmethod
    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Have the raw material of `splits` at hand, and no other."""

    @abstractmethod
    def identity(self) -> Mapping[str, object]:
        """What all examples are made from besides the task's settings, as plain values (see Corpus)."""

    @abstractmethod
    def learn(self, folder: Path, progress: ProgressReporter) -> None:
        """Learn what must travel with the model (a vocabulary) from the training rows, into `folder`."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Use what `learn` left in `folder`."""

    @abstractmethod
    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """The raw rows of a split, in an order that is always the same."""

    @abstractmethod
    def example(self, row: tuple[str, ...], *, training: bool) -> Example | Rejected:
        """What is learnt from a row; columns end with EOS where the model is to see one.

        Rows are dropped only in training. "target" is the column whose tokens are counted.
        """

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        """Columns made again from an example's text, with another segmentation (subword regularisation)."""
        raise NotImplementedError(f"{type(self).__name__} keeps no text")

    @abstractmethod
    def read(self, text: str) -> Mapping[str, list[int]]:
        """The columns of an input, "source" among them."""

    @abstractmethod
    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """An answer to the input `text` as a person is to read it.

        `labels` has the likeliest label of each token of the input, for each column that the model labels.
        """

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """How people call each token of a column, of which none is PAD, BOS or EOS."""
        return list(map(str, ids))

    def split_long_input(self, text: str, max_length: int) -> list[str]:
        """An input as parts of at most `max_length` tokens each, answered one by one."""
        return [text]

    def join(self, answers: Sequence[str]) -> str:
        """The answer to a whole input, from those to its pieces."""
        return " ".join(answers)

    def training_warnings(self) -> Sequence[str]:
        """Return warnings about vocabulary and training rows, a line each, before training begins."""
        return ()

    def answer_warnings(self, text: str, answers: Sequence[Sequence[int]]) -> Sequence[AnswerWarning]:
        """Return warnings about the answers to an input, such as the number of repaired answers.

        Warnings with equal messages are added up over all inputs, so give one also if its count is 0.

        Args:
            text: the input, or one piece of it
            answers: the ids of each answer
        """
        return ()

    def read_split(self, name: str) -> Split:
        """Read the rows of a split into memory."""
        return Split(name, [*self.rows(name)])

    @abstractmethod
    def inputs(self, split: Split) -> list[str]:
        """Return the inputs of a split, as a user would type them."""

    @abstractmethod
    def references(self, split: Split) -> list[str]:
        """Return the correct output for each input of a split."""

    def data_warnings(self, split: Split) -> Sequence[str]:
        """Return warnings about the scores of a split, a line each."""
        return ()

    @abstractmethod
    def evaluate(self, model: TextModel, split: Split) -> Evaluation:
        """Return the scores of a model on a split, the main score first, and its answers with warnings."""

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the scores that `evaluate` gives, in its order, before anything is fetched.

        None: they are not known before a model is scored. `training.select` and `training.patience` may name
        one of them, and `seqx check` refuses other names.
        """
        return None

    def grammar(self, inputs: Sequence[Mapping[str, list[int]]]) -> Grammar | None:
        """What restricts the answers to these inputs, if anything does."""
        return None

    def constraint(self, requests: Sequence[Request]) -> Grammar:
        """What restricts the answers to what is requested.

        Raises:
            UserError: the task's answers cannot be constrained, or not in this way
        """
        raise UserError(f"{type(self).__name__} takes no prefixes and no phrases; ask without")
