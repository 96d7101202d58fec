"""The interfaces of learning and finding: objectives, optimizers, schedules, searches, grammars."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from seqx.interfaces.networks import Model
from seqx.interfaces.values import Batch, Hypothesis, State, Tokens


class Objective(nn.Module, ABC):
    """What training makes small: named sums, each divided once by its count over the whole update."""

    trained_on: tuple[str, ...] = ("loss",)
    """The sums that are learnt from; the others are only reported."""

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """What each sum over the batch is divided by, known before anything is computed."""
        return dict.fromkeys(self.trained_on, batch.count)

    @abstractmethod
    def forward(self, model: Model, batch: Batch) -> Mapping[str, Tensor]:
        """The sums over the batch, each a scalar, under the names that `counts` gives; one is "loss"."""


class Optimizer(ABC):
    """Builds torch optimizers."""

    shards: ClassVar[bool] = True
    """Whether it can step where each device has a share of every parameter (DTensor)."""

    @abstractmethod
    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """For the parameters of `module`, which tells what each of them is a part of.

        The optimizer steps once an update; each group of parameters learns at the schedule's rate, times the
        group's "scale" where it has one.
        """


class Schedule(ABC):
    """How the learning rate goes."""

    @abstractmethod
    def __call__(self, step: int, steps: int) -> float:
        """The learning rate of update `step`, counted from 1, of a run of `steps` updates."""


class Grammar(ABC):
    """Says which symbols may come next, for all hypotheses at once; probabilities are not renormalised.

    Where nothing may come next, a search gives the hypothesis up, and a sentence all of whose hypotheses are
    given up has no answer.
    """

    def prepare(self, max_lengths: Sequence[int]) -> None:
        """Build what depends on the limits of the sentences, while these are still on the host.

        A search calls it before `start`, which then need not wait for a GPU to read the limits.
        """
        return

    @abstractmethod
    def start(self, rows: int, max_lengths: Tensor) -> State:
        """The state of `rows` sentences that may have `max_lengths` [rows] tokens each, EOS not counted."""

    @abstractmethod
    def allowed(self, state: State) -> Tensor:
        """True where a symbol may come next: [N, V] bool."""

    @abstractmethod
    def advance(self, state: State, tokens: Tensor) -> State:
        """After one more token of each hypothesis, [N] int64."""

    def remaining(self, state: State) -> Tensor | None:
        """How much is still demanded of each hypothesis after each symbol: [N, V] integers, not negative.

        A beam gives hypotheses of which less is demanded places of their own, since what is demanded makes
        them less probable than those that put it off. None: nothing is demanded of any sentence.
        """
        return None


class Search(ABC):
    """Finds what a model would write."""

    @property
    def width(self) -> int:
        """How many hypotheses of a sentence are computed at once; batches are made smaller by it."""
        return 1

    @property
    def num_answers(self) -> int:
        """The number of different answers to a sentence that the search should give."""
        return 1

    def wider(self) -> Self | None:
        """Return a search that finds more hypotheses for each sentence, or None if there is none.

        It is used if several hypotheses have the same text, so that fewer answers than `wanted` are left.
        """
        return None

    @abstractmethod
    def max_lengths(self, lengths: Tensor) -> Tensor:
        """The longest output [B], EOS not counted, for sources of `lengths` [B] tokens, EOS not counted."""

    @abstractmethod
    def __call__(
        self,
        model: Model,
        source: Tokens,
        max_lengths: Tensor,
        grammar: Grammar | None = None,
        memory: State | None = None,
    ) -> Sequence[Sequence[Hypothesis]]:
        """Return the hypotheses of each sentence, best first; none if the grammar allows no output.

        Args:
            model: gives the logits
            source: the padded sources [B, S]
            max_lengths: maximum output tokens [B] of each sentence, EOS excluded
            grammar: restricts the outputs
            memory: `model.encode(source)`, if the caller has it already
        """


class Callback:
    """Observe a run: implements events of `seqx.plugin.hooks.Events`, each marked `@seqx.hookimpl`.

    One that also has `state_dict` and `load_state_dict` is saved with the run's checkpoints.
    """
