"""The interfaces of text: normalizers, tokenizers, corpora, metrics, tasks."""

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
"""The splits of a corpus: training, validation, and test."""

ProgressReporter = Callable[[str, float | None], None]
"""Called with a few words about the current work, and the finished fraction, 0 to 1 (None: unknown)."""


Problem = tuple[str, str]
"""The name of a setting, such as `train.0` for the first item of `train`, and a message about it."""


class Normalizer(ABC):
    """A change of text before tokenization, and its inverse for outputs. It is stored with the model."""

    @abstractmethod
    def __call__(self, text: str) -> str:
        """Return the normalized text. Called for each side of each row, and for each input."""

    def restore(self, text: str) -> str:
        """Undo the normalization in an output, as far as possible."""
        return text


class Tokenizer(Codec, ABC):
    """The mapping between text and token ids.

    PAD, BOS, EOS and UNK are 0 to 3; `encode` returns only UNK of these.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """The size of the vocabulary: before `learn` the requested one, afterwards the exact one."""

    @abstractmethod
    def learn(self, lines: Iterable[str], folder: Path) -> None:
        """Learn the vocabulary and write it into `folder`; called once, before training.

        Args:
            lines: the training text, which can be iterated once
            folder: an empty folder that is stored with the model
        """

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Load the vocabulary that `learn` wrote into `folder`."""

    @abstractmethod
    def encode(self, text: str, rng: random.Random | None = None) -> list[int]:
        """Return the ids of a text, without BOS and EOS.

        Args:
            text: the text
            rng: draw one of several segmentations (subword regularisation, Kudo 2018); None: the best one
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; PAD, BOS and EOS are ignored."""

    def symbols(self, ids: Sequence[int]) -> list[str]:
        """Return a readable form of each id, for attention pictures and n-best lists."""
        return [self.decode([token]) for token in ids]

    def surfaces(self) -> Sequence[bytes | None]:
        """Return the UTF-8 bytes that each id writes; None for PAD, BOS, EOS and ids without fixed text.

        The bytes of the ids of a text, joined, are the text plus the characters that `decode` removes, such
        as a leading space. An id may write a part of a character. Constraints on outputs
        (`seqx.LexicalGrammar`) need it.

        Raises:
            NotImplementedError: the tokenizer does not support constraints
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not implement surfaces, which constraints need"
        )


class Corpus(ABC):
    """A source of text: rows of strings, one string for each column."""

    unique: bool = True
    """True if repeated training rows are removed; false if they are repeated on purpose."""

    @property
    def available(self) -> Sequence[str]:
        """The splits that the corpus has ("train", "dev", "test"), known before `fetch`; by default all."""
        return SPLITS

    @property
    def width(self) -> int | None:
        """The number of columns; None if it is not known before `fetch`."""
        return None

    def setting_errors(self) -> Iterable[Problem]:
        """Return errors that can be found quickly and that `fetch` would raise, such as missing files.

        `seqx check` and `seqx run` report them at the settings that they name.
        """
        return ()

    @abstractmethod
    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Make the rows of some splits available; called before `rows`, and fast if there is nothing to do.

        Files that only other splits need may be missing: scoring a model needs no training text.

        Args:
            folder: where downloads are kept; shared by all runs
            progress: called often with the state of long work
            splits: the splits that will be read

        Raises:
            UserError: text is missing; the message says what to do
        """

    @abstractmethod
    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split, always in the same order.

        Raises:
            UserError: with file and line, if the text cannot be read
        """

    def place(self, split: str, row: int) -> str:
        """Return the place of a row, counted from 0, for messages: file and line if they are known."""
        return f"row {row + 1:,} of {split}"

    def identity(self) -> Mapping[str, object]:
        """Return plain values that identify the content: equal identities mean equal rows.

        The cache uses them as keys. Paths alone do not identify text; add sizes, times or hashes.
        Valid after a `fetch` of all splits.
        """
        return {}


class Metric(ABC):
    """A comparison of outputs with references."""

    @abstractmethod
    def __call__(self, outputs: Sequence[str], references: Sequence[str]) -> Mapping[str, Score]:
        """Return the scores of all outputs together, by name, the main score first."""

    def setting_errors(self) -> Iterable[Problem]:
        """Return errors that prevent the computation, such as a missing file or package."""
        return ()

    def warnings(self, references: Sequence[str], outputs: Sequence[str] = ()) -> Sequence[str]:
        """Return warnings about scores against these references, one line each.

        Args:
            references: the reference texts
            outputs: the scored texts, if they are known
        """
        return ()

    def report(self, outputs: Sequence[str], references: Sequence[str]) -> str:
        """Return the scores and their explanation as lines of text, for `seqx score --report`."""
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
    """The training examples and their evaluation: what is learned, from which text, and how it is scored.

    A task knows neither the model nor the search.
    """

    max_length: int | None = None
    """The maximum number of tokens of a training input, EOS included; longer inputs are split. None: any."""

    resegments: bool = False
    """True if `encode` draws new segmentations of the examples in each epoch."""

    many_eos: bool = False
    """True if EOS ends each line of a target; false if the only EOS ends the target."""

    @property
    def unique(self) -> bool:
        """True if repeated training rows are removed (see Corpus)."""
        return True

    @property
    def available(self) -> Sequence[str]:
        """The splits that the task has ("train", "dev", "test"), known before `fetch`."""
        return SPLITS

    def setting_errors(self) -> Iterable[Problem]:
        """Return errors that can be found quickly and that `fetch` would raise, for `seqx check`."""
        return ()

    @property
    @abstractmethod
    def vocab_sizes(self) -> Mapping[str, int]:
        """The vocabulary size of each column that the model sees; exact after `learn` or `load`."""

    @abstractmethod
    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Make the text of some splits available, and no other (see Corpus.fetch)."""

    @abstractmethod
    def identity(self) -> Mapping[str, object]:
        """Return plain values that identify the text, not the settings (see Corpus.identity)."""

    @abstractmethod
    def learn(self, folder: Path, progress: ProgressReporter) -> None:
        """Learn the vocabulary from the training rows; write it into `folder`, which the model keeps."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Load what `learn` wrote into `folder`."""

    @abstractmethod
    def rows(self, split: str) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a split, always in the same order. Rows are read in one process."""

    @abstractmethod
    def example(self, row: tuple[str, ...], *, training: bool) -> Example | Rejected:
        """Return the example of a row, or the reason why it is rejected. Called in several processes.

        Columns end with EOS if the model is to see one. The tokens of the column "target" are counted.

        Args:
            row: the strings of the row
            training: the row is for training; rows of other splits must not be rejected
        """

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, list[int]]:
        """Return the columns of an example with another segmentation (subword regularisation).

        Called once per epoch for each example if `resegments` is true.

        Args:
            text: `Example.text`
            rng: source of randomness, seeded for each example and epoch
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement encode")

    @abstractmethod
    def read(self, text: str) -> Mapping[str, list[int]]:
        """Return the columns of an input, among them "source"."""

    @abstractmethod
    def write(self, ids: Sequence[int], text: str, labels: Mapping[str, Sequence[int]]) -> str:
        """Return the answer to an input as text.

        Args:
            ids: the target ids, without BOS and EOS
            text: the input
            labels: the most probable label of each input token, for each column that the model labels
        """

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """Return a readable form of each token of a column; none of them is PAD, BOS or EOS."""
        return list(map(str, ids))

    def split_long_input(self, text: str, max_length: int) -> list[str]:
        """Split an input into parts of at most `max_length` tokens each, which are answered separately."""
        return [text]

    def join(self, answers: Sequence[str]) -> str:
        """Return the answer to a whole input from the answers to its parts."""
        return " ".join(answers)

    def training_warnings(self) -> Sequence[str]:
        """Return warnings about vocabulary and training rows, one line each; printed before training."""
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
        """Return warnings about the data of a split that affect its scores, one line each."""
        return ()

    @abstractmethod
    def evaluate(self, model: TextModel, split: Split) -> Evaluation:
        """Return the scores of a model on a split, the main score first, and its answers with warnings."""

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the scores of `evaluate`, in order; called before anything is fetched.

        None: they are not known before a model is scored. `training.select` and `training.patience` may name
            one of
        them; `seqx check` refuses other names.
        """
        return None

    def grammar(self, inputs: Sequence[Mapping[str, list[int]]]) -> Grammar | None:
        """Return the grammar that restricts the answers to these inputs, or None.

        Args:
            inputs: what `read` returned for each input of the batch
        """
        return None

    def constraint(self, requests: Sequence[Request]) -> Grammar:
        """Return a grammar for what users request of the answers: prefixes, required and forbidden phrases.

        The search obeys it together with `grammar`.

        Raises:
            UserError: the task does not support constraints, or not this one
        """
        raise UserError(f"{type(self).__name__} does not support prefixes and phrases; leave them out")
