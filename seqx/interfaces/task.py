"""The interface of tasks, and the values that pass between a task and a predictor."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

from seqx.errors import UserError
from seqx.interfaces.learning import Hypothesis, Search, SearchTrace, Trace
from seqx.interfaces.mistakes import Drawing, MistakeGroup, ReportTable
from seqx.interfaces.networks import Model
from seqx.interfaces.rows import Row, value_text
from seqx.interfaces.scores import Answer, AnswerWarning, Evaluation, Score, Significance
from seqx.interfaces.specification import TextSpec, UnspecifiedError
from seqx.interfaces.starting_point import StartingPoint
from seqx.interfaces.tensors import Batch
from seqx.interfaces.text import SPLITS, Problem, ProgressReporter, RequiredData

Values = Any
"""The values of one column of an example: a list or array of token ids, of floats, or of vectors [T, F].

Floats and vectors reach a model in float32.
"""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One training example: columns of values, and optionally the text of these columns.

    `Task.encode` segments `text` again in each epoch.
    """

    columns: Mapping[str, Values]  # values by the name of the column
    text: Mapping[str, str] = field(default_factory=dict)  # strings by the name of the column


@dataclass(frozen=True)
class Rejected:
    """The reason why a row does not become a training example, such as "empty" or "too long"."""

    reason: str  # rows with the same reason are counted together


@dataclass(frozen=True, kw_only=True)
class Request:
    """An input with constraints on its answer.

    Args:
        input: a value that the task reads: a text, or for example an array of samples
        prefix: the beginning of the answer; it may end within a word
        require: words or phrases that must occur in the answer
        forbid: words or phrases that must not occur
    """

    input: Any
    prefix: str = ""
    require: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()

    @property
    def constrained(self) -> bool:
        """True if there is any constraint."""
        return bool(self.prefix or self.require or self.forbid)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs that a model answers at once.

    Args:
        requests: the inputs with their constraints
        columns: the result of `Task.read` for each input
        batch: these columns on the device of the model, padded; its `count` is 0
        max_lengths: the maximum number of tokens of each output, EOS excluded, that search and model allow:
            [B] int64, on the host; zeros if the task does not use a search
        num_answers: the number of different answers that are wanted for each input
        trace: filled by the search with the hypotheses of each step; None: do not record them
    """

    requests: Sequence[Request]
    columns: Sequence[Mapping[str, Values]]
    batch: Batch
    max_lengths: Tensor
    num_answers: int = 1
    trace: SearchTrace | None = None


class InputError(UserError):
    """An input that cannot be answered.

    Args:
        message: the error, and what to do
        index: the number of the input, from 0
    """

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class Candidate(NamedTuple):
    """One answer to an input: the text, and the hypothesis that was converted to this text."""

    text: str  # of the answer
    hypothesis: Hypothesis  # the ids, their log-probability, and the value by which answers are ranked


class NBest(list[Candidate]):
    """The answers to one input, best first. The list is empty if there is no answer.

    Args:
        candidates: the answers
        warnings: the warnings of task and predictor about the input and the answers
        traces: for each part of the input, the trace of each search; empty if traces were not recorded
    """

    def __init__(
        self,
        candidates: Iterable[Candidate] = (),
        warnings: Iterable[AnswerWarning] = (),
        traces: Iterable[Sequence[Trace]] = (),
    ) -> None:
        super().__init__(candidates)
        self.warnings: Sequence[AnswerWarning] = tuple(warnings)
        self.traces: Sequence[Sequence[Trace]] = tuple(traces)

    @property
    def text(self) -> str:
        """The text of the best answer; empty if there is none."""
        return self[0].text if self else ""


def sum_warnings(nbests: Iterable[NBest]) -> list[AnswerWarning]:
    """Add up the warnings of several inputs that have the same message, in the order of their appearance."""
    sums: dict[str, tuple[int, int]] = {}
    for nbest in nbests:
        for warning in nbest.warnings:
            count, total = sums.get(warning.message, (0, 0))
            sums[warning.message] = count + warning.count, total + warning.total
    return [AnswerWarning(message, *count_and_total) for message, count_and_total in sums.items()]


def distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates, best first, without those that have the same text as a better one."""
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.text, candidate)
    return [*first.values()]


@dataclass(frozen=True)
class Split:
    """The rows of a split, read into memory."""

    name: str  # train, dev or test
    rows: Sequence[Row]  # in the order of the corpus
    more_references: Sequence[Sequence[str]] = ()  # lists of further references, each with one for each row


class TextModel(Protocol):
    """The methods of `seqx.Predictor` with which a task evaluates a model."""

    @property
    def max_length(self) -> int:
        """The maximum tokens, EOS included, of an input that is not split."""
        ...

    def __call__(self, inputs: Iterable[Any]) -> list[str]:
        """Return the best answer to each input, in the order of the inputs; "" if there is none."""
        ...

    def hypotheses(self, inputs: Iterable[Any]) -> Iterable[NBest]:
        """Yield the n-best list of each input with its warnings, in the order of the inputs."""
        ...

    def logprobs(self, examples: Sequence[Example]) -> list[float | None]:
        """Return the natural log-probability of each example's target, given its other columns.

        The value is None if the example is too long to be scored in one forward pass.
        """
        ...


class Task(ABC):
    """The definition of what is learned: corpus, encoding of examples, answers of a model, and evaluation.

    A task does not depend on the model or the search. `seqx.GenerationTask` is the base class of tasks whose
    outputs are written token by token.
    """

    model_type: ClassVar[type[Model]] = Model  # type: ignore[type-abstract]
    """The models that can be trained on the task; `seqx check` refuses others."""

    uses_search: ClassVar[bool] = False
    """True if `answer` uses a search. Then a recipe must name a search; otherwise it must not."""

    input_type: ClassVar[type] = str
    """The type of the inputs that `read` accepts; `object`: any."""

    action: ClassVar[str] = "answer"
    """The verb for answering an input, such as "translate": the path at which a server answers inputs."""

    source_tokens: ClassVar[float] = 1.0
    """The usual number of source tokens per target token, for estimates of the time of a run."""

    starting_point: ClassVar[StartingPoint | None] = None
    """The recipe that `seqx new recipe` writes for the task; None: it offers none."""

    next_commands: ClassVar[Sequence[str]] = ()
    """Commands that a finished run prints, to use its model.

    {model} is replaced by the model folder, {input} by a short input of the test or development split, and
    {start} by the first words of a reference.
    """

    max_length: int | None = None
    """The maximum tokens of a training input, EOS included; predictors split longer inputs. None: any."""

    resegments: bool = False
    """True if `encode` draws new segmentations of the examples in each epoch."""

    @property
    def unique(self) -> bool:
        """True if repeated training rows are removed (see Corpus)."""
        return True

    @property
    def available(self) -> Sequence[str]:
        """The splits that the task has ("train", "dev", "test"), known before `fetch`."""
        return SPLITS

    @property
    def accepts_constraints(self) -> bool:
        """True if requests may have prefixes, required phrases and forbidden phrases."""
        return False

    @property
    def languages(self) -> tuple[str, str] | None:
        """The languages of inputs and answers as ISO 639 codes; None if they are unknown or several."""
        return None

    def setting_errors(self) -> Iterable[Problem]:
        """Return errors that can be found quickly and that `fetch` would raise, for `seqx check`."""
        return ()

    @property
    @abstractmethod
    def vocab_sizes(self) -> Mapping[str, int]:
        """The vocabulary size of each column that the model uses; exact after `learn` or `load`.

        For a column of vectors it is their number of features, as `seqx.Features`.
        """

    @abstractmethod
    def fetch(self, folder: Path, progress: ProgressReporter, splits: Sequence[str] = SPLITS) -> None:
        """Make the text of these splits available, and of no others (see Corpus.fetch)."""

    def required_data(self, folder: Path) -> RequiredData | None:
        """Return the text that the task needs (see Corpus.required_data)."""
        return None

    @abstractmethod
    def identity(self) -> Mapping[str, object]:
        """Return plain values that identify the text, without the settings (see Corpus.identity)."""

    @abstractmethod
    def learn(self, folder: Path, progress: ProgressReporter) -> None:
        """Learn the vocabulary from the training rows; write it into `folder`, a part of the model folder."""

    def extend(self, old: Path, folder: Path, progress: ProgressReporter) -> None:
        """Load the vocabulary of a model in `old`, add what it lacks, and write it into `folder`.

        All ids of `old` keep their meaning, see `seqx.Tokenizer.extend`.

        Raises:
            UserError: this task cannot extend a vocabulary
        """
        raise UserError(
            f"training.init_from.vocabulary: the task {type(self).__name__} cannot extend a vocabulary; set "
            "vocabulary: keep"
        )

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Load the vocabulary that `learn` wrote into `folder`."""

    @abstractmethod
    def rows(self, split: str) -> Iterator[Row]:
        """Yield the rows of a split, always in the same order. Rows are read in one process."""

    def num_rows(self, split: str) -> int | None:
        """Return the number of rows of a split, to show progress; None if it is unknown (the default)."""
        return None

    def row_location(self, split: str, row: int) -> str:
        """Return the location of row number `row` (from 0) of `rows`: file and line if they are known."""
        return f"row {row + 1:,} of {split}"

    @abstractmethod
    def example(self, row: Row, *, training: bool) -> Example | Rejected:
        """Return the example of a row, or the reason why it is rejected. Called in several processes.

        A column ends with EOS if the model reads or predicts EOS. The number of target tokens, such as in
        `training.tokens`, is the number of tokens in the column "target".

        Args:
            row: the values of the row, such as strings
            training: true for a training row; rows of other splits must not be rejected
        """

    def encode(self, text: Mapping[str, str], rng: random.Random) -> Mapping[str, Values]:
        """Return the columns of an example with another segmentation (subword regularisation).

        Called once per epoch for each example if `resegments` is true.

        Args:
            text: `Example.text`
            rng: source of randomness, seeded for each example and epoch
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement encode")

    def scored_example(self, texts: Sequence[str]) -> Example | Rejected:
        """Return the example whose target `seqx score --model` scores.

        Args:
            texts: a source and a target. A task whose targets have no source takes the target alone.

        Raises:
            UserError: the task needs another number of texts, or cannot read them
        """
        if len(texts) != 2:
            raise UserError("the model predicts targets from sources; name two files, SOURCE and TARGET")
        return self.example((texts[0], texts[1]), training=False)

    @abstractmethod
    def read(self, source: Any) -> Mapping[str, Values]:
        """Return the columns of an input, among them "source"."""

    @abstractmethod
    def answer(self, model: Model, inputs: Inputs, search: Search | None) -> Sequence[Sequence[Candidate]]:
        """Return the answers of a model to a batch of inputs, best first. Called without gradients.

        If a search finds several hypotheses with the same text, return all of them.

        Args:
            model: the model, in evaluation mode
            inputs: the inputs, read and padded
            search: the search; None if `uses_search` is false

        Raises:
            InputError: an input cannot be answered; its index is that in `inputs`
        """

    def target_column(self, ids: Sequence[int]) -> list[int]:
        """Return the column "target" of an answer with these ids (see `Hypothesis.ids`)."""
        return [*ids]

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """Return a readable form of each token of a column. The ids do not include PAD, BOS or EOS."""
        return list(map(str, ids))

    def token_words(self, column: str, ids: Sequence[int], text: str) -> list[int | None]:
        """Return the number of the word of a text to which each token of a column belongs; None: to no word.

        Args:
            column: "source" or "target"
            ids: the tokens of the column
            text: the input or the answer, whose words are separated by spaces and counted from 0

        Raises:
            UserError: the task does not know the words of tokens
        """
        raise UserError("the task of this model does not align words; use a model that translates")

    def split_long_input(self, source: Any, max_length: int) -> list[Any]:
        """Split an input into parts of at most `max_length` tokens each, which are answered separately."""
        return [source]

    def join(self, answers: Sequence[str]) -> str:
        """Return the answer to a whole input from the answers to its parts."""
        return " ".join(answers)

    def structure(self, answer: str) -> Mapping[str, object]:
        """Return parts of an answer as JSON values by name, such as a tree; by default there are none."""
        return {}

    def training_warnings(self) -> Sequence[str]:
        """Return warnings about vocabulary and training rows, one line each; printed before training.

        They are kept in the cache, so they may depend only on the settings, the vocabulary and the text.
        """
        return ()

    def answer_warnings(self, source: Any, answers: Sequence[Sequence[int]]) -> Sequence[AnswerWarning]:
        """Return warnings about the answers to an input, such as the number of repaired answers.

        The counts of warnings with equal messages are added up over all inputs, so return a warning even if
        its count is 0.

        Args:
            source: the input, or one part of it
            answers: the ids of each answer
        """
        return ()

    def read_split(self, name: str) -> Split:
        """Read the rows of a split into memory."""
        return Split(name, [*self.rows(name)])

    @abstractmethod
    def inputs(self, split: Split) -> list[Any]:
        """Return the inputs of a split, as a user would pass them to a predictor."""

    @abstractmethod
    def references(self, split: Split) -> list[str]:
        """Return the correct output for each input of a split."""

    def data_warnings(self, split: Split) -> Sequence[str]:
        """Return warnings about the data of a split that affect its scores, one line each."""
        return ()

    @abstractmethod
    def evaluate(self, model: TextModel, split: Split) -> Evaluation:
        """Return the scores of a model on a split, the main score first, and its answers with warnings."""

    def answer_scores(self, answers: Sequence[Answer]) -> Sequence[Mapping[str, Score]]:
        """Return the scores of each answer alone, by name.

        Raises:
            UserError: the task does not compare answers with references
        """
        raise UserError("the task of this model has no scores of single answers")

    def answers(self, split: Split, outputs: Sequence[str]) -> list[Answer]:
        """Return an `Answer` for each input of a split: the input, its output and its references."""
        return [
            Answer(input=value_text(source), output=output, reference=reference, more_references=tuple(more))
            for source, output, reference, *more in zip(
                self.inputs(split), outputs, self.references(split), *split.more_references, strict=True
            )
        ]

    def rescore(self, answers: Sequence[Answer]) -> Mapping[str, Score]:
        """Return the scores of answers that were read from a file; empty if the task cannot compute them."""
        return {}

    def significance(
        self, baseline: Sequence[Answer], answers: Sequence[Answer], resamples: int
    ) -> Mapping[str, Significance]:
        """Test the differences between the scores of two lists of answers to the same inputs.

        Args:
            baseline: the answers of the baseline
            answers: the other answers
            resamples: the number of bootstrap resamples

        Returns:
            the results by the names of the scores; empty if the task has no metrics
        """
        return {}

    def mistakes(self, answers: Sequence[Answer]) -> Sequence[MistakeGroup]:
        """Return groups of mistakes in answers, for `seqx errors` and `report.html`; by default none."""
        return ()

    def report_tables(self, answers: Sequence[Answer]) -> Sequence[ReportTable]:
        """Return tables about answers that `report.html` shows; by default none."""
        return ()

    def draw_difference(self, answer: Answer) -> Sequence[Drawing]:
        """Return drawings of an answer and its reference; by default none, and their words are compared."""
        return ()

    def score_names(self) -> Sequence[str] | None:
        """Return the names of the scores of `evaluate`, in order; called before anything is fetched.

        `training.select` and `training.patience` may name one of them; `seqx check` refuses other names.
        Return None if the names are not known before a model is scored.
        """
        return None

    def specification(self) -> TextSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise UnspecifiedError(type(self).__name__)
