"""The interfaces of training and decoding: objectives, optimizers, schedules, grammars, searches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from seqx.interfaces.networks import Generator, Model
from seqx.interfaces.specification import SearchSpec, UnspecifiedError
from seqx.interfaces.tensors import Batch, Column, State


class Objective(nn.Module, ABC):
    """The training loss: named sums over a batch.

    The training loop divides each sum by its count in the whole update. So the loss does not depend on the
    division of an update into microbatches and ranks.
    """

    trained_on: tuple[str, ...] = ("loss",)
    """Names of the sums that add up to the loss, each divided by its count; other sums are only reported."""

    reads_packed_rows: bool = False
    """True if the sums do not depend on the row of an example, and a row may hold several examples."""

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Return the divisor of each sum for a batch.

        The training loop calls it before `forward`, when the batch is still on the host.
        """
        return dict.fromkeys(self.trained_on, batch.count)

    @abstractmethod
    def forward(self, model: Model, batch: Batch) -> Mapping[str, Tensor]:
        """Return the sums over a batch, each a scalar tensor, under the names of `counts`.

        One of them is called "loss". The training loop calls this for each microbatch.
        """


class Optimizer(ABC):
    """A factory of torch optimizers."""

    shards: ClassVar[bool] = True
    """True if the optimizer can update parameters that are sharded over ranks (DTensor)."""

    @abstractmethod
    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Return a torch optimizer for the parameters of `module`.

        Called once, when the module is on its device. The names of the module's parameters say to which layer
        they belong. The training loop calls `step` once per update. Each parameter group has the learning
        rate of the schedule, times the group's "scale" if it has one.

        Raises:
            UserError: the optimizer does not support these parameters
        """

    def check(self, module: nn.Module) -> None:
        """Check that the optimizer supports the parameters of `module`, which may be on the meta device.

        It is called before a run reads any text. By default, it builds the optimizer. Override it if the
        check needs no optimizer, because building the first one imports parts of torch, which takes seconds.

        Raises:
            UserError: `build` would raise it
        """
        self.build(module)


class Schedule(ABC):
    """A learning-rate schedule."""

    @abstractmethod
    def __call__(self, step: int, steps: int) -> float:
        """Return the learning rate of update `step`, counted from 1, in a run of `steps` updates."""


class Grammar(ABC):
    """The symbols that may come next, for all hypotheses of a search at once.

    The search does not renormalise the probabilities of the allowed symbols. If no symbol is allowed, it
    drops the hypothesis. A sentence whose hypotheses are all dropped has no answer.

    Letters in shapes: N hypotheses, V symbols.
    """

    def prepare(self, max_lengths: Sequence[int]) -> None:
        """Build tables that depend on the maximum lengths [B] of the sentences.

        A search calls it before `start`, while the lengths are on the host, so that `start` need not wait for
        a GPU to copy them.
        """
        return

    @abstractmethod
    def start(self, rows: int, max_lengths: Tensor) -> State:
        """Return the state of `rows` sentences before their first token.

        Args:
            rows: number of sentences, B
            max_lengths: maximum number of tokens of each output, EOS excluded: [B] int64
        """

    @abstractmethod
    def allowed(self, state: State) -> Tensor:
        """Return a mask of the symbols that may come next: [N, V] bool. Called once for each token.

        The mask must be a new tensor, because the search may change it.
        """

    @abstractmethod
    def advance(self, state: State, tokens: Tensor) -> State:
        """Return the state after one more token of each hypothesis: `tokens` is [N] int64."""

    def remaining(self, state: State) -> Tensor | None:
        """Return the number of required symbols that remain after each next symbol: [N, V] integers >= 0.

        A hypothesis that writes a required phrase is often less probable than one that postpones it. Beam
        search therefore reserves parts of the beam for hypotheses with fewer remaining symbols. None: no
        sentence has required symbols.
        """
        return None


class ScoreProcessor(ABC):
    """A rule of a search that changes the scores of the next symbols, for all hypotheses at once.

    A score is the model's log-probability, changed by the earlier processors. A search chooses symbols by
    their scores. `Hypothesis.logprob` is always that of the model.

    Letters in shapes: N hypotheses, T symbols of each so far, V symbols of the vocabulary.
    """

    @abstractmethod
    def __call__(self, scores: Tensor, ids: Tensor) -> Tensor:
        """Return new scores of the next symbols [N, V]; `scores` is not changed in place.

        A row may depend on its own hypothesis only. -inf forbids a symbol. A score must be at most 0, and
        remain -inf if it was, so that a search knows when no hypothesis can become better. If all symbols are
        forbidden, the hypothesis is dropped. Processors do not change the score of EOS at the maximum length.

        Args:
            scores: the scores of the next symbols [N, V]
            ids: the symbols that were written so far, without BOS [N, T]; the source is not included
        """


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One output of a search."""

    ids: list[int]  # without BOS and EOS
    score: float  # the value by which the search ranks hypotheses
    logprob: float  # natural logarithm; includes EOS if it was written


Outcome = Literal["kept", "finished", "pruned"]


class TracedHypothesis(NamedTuple):
    """A hypothesis at one step of a search."""

    ids: list[int]  # without BOS; ends with EOS if the hypothesis is finished
    score: float  # the value by which the search ranks it at this step
    logprob: float  # natural logarithm
    outcome: Outcome  # kept: extended in the next step; finished: ends with EOS; pruned: dropped


Trace = Sequence[Sequence[TracedHypothesis]]
"""The hypotheses of each step of a search for one sentence."""


@dataclass
class SearchTrace:
    """The hypotheses of each step of a search, best first. The search fills it if it is passed.

    Args:
        sentences: number of sentences of the batch
    """

    sentences: int
    steps: list[list[list[TracedHypothesis]]] = field(init=False)  # by sentence and step

    def __post_init__(self) -> None:
        self.steps = [[] for _ in range(self.sentences)]


class Search(ABC):
    """A decoding algorithm: from a model and a source to hypotheses."""

    @property
    def width(self) -> int:
        """The number of hypotheses computed at once per sentence; batches are smaller by this factor."""
        return 1

    @property
    def num_answers(self) -> int:
        """The number of different answers to a sentence that the search should return."""
        return 1

    def wider(self) -> Self | None:
        """Return a search with more hypotheses for each sentence; None if the search cannot be widened.

        The predictor calls it if hypotheses have the same text, so that fewer than `num_answers` answers are
        left.
        """
        return None

    def with_answers(self, number: int) -> Self:
        """Return the same search for `number` answers, or for as many as it can find without more work."""
        return self

    @abstractmethod
    def max_lengths(self, lengths: Tensor) -> Tensor:
        """Return the maximum output lengths for sources of given lengths, both [B] int64, EOS excluded."""

    @abstractmethod
    def __call__(
        self,
        model: Generator,
        source: Column,
        max_lengths: Tensor,
        grammar: Grammar | None = None,
        memory: State | None = None,
        trace: SearchTrace | None = None,
    ) -> Sequence[Sequence[Hypothesis]]:
        """Return the hypotheses of each sentence, best first. Called without gradients.

        Args:
            model: the model, in evaluation mode
            source: the padded source, [B, S]
            max_lengths: maximum number of tokens of each output, EOS excluded: [B]
            grammar: the symbols that may come next; None: all
            memory: `model.encode(source)`, if the caller has computed it; None: the search computes it
            trace: filled with the hypotheses of each step, if the search supports it; None: not recorded

        Returns:
            B lists; the list of a sentence is empty if the grammar dropped all its hypotheses
        """

    def specification(self) -> SearchSpec:
        """Return a description for exporters; by default there is none (see `seqx.describe`)."""
        raise UnspecifiedError(type(self).__name__)


class Callback:
    """A component that observes a run.

    It implements some of the events of a run, in methods marked `@seqx.hookimpl`. The state of a callback
    with `state_dict` and `load_state_dict` is saved with the checkpoints.
    """

    @property
    def state_name(self) -> str:
        """The name of the state in checkpoints: that of the class."""
        return type(self).__qualname__

    def warn_with(self, warn: Callable[[str], None]) -> None:
        """Receive a function that warns of a problem, before `started`; by default, do nothing.

        Args:
            warn: prints a message on standard error, and notifies all callbacks of it (`noticed`)
        """
