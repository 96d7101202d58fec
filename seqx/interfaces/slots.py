"""Slots: the sentences that a search decodes at the same time, and their default implementation.

Letters in shapes: A occupied slots, K hypotheses of each slot, N = A * K hypotheses in one dimension, V
symbols.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Protocol

import torch
from torch import Tensor

from seqx.interfaces.tensors import State, fork, rows
from seqx.runtime.devices import to_device


class Slots(ABC):
    """The sentences that a search decodes at the same time, and their hypotheses; updated in place.

    A slot holds one sentence with a fixed number of hypotheses. A slot that was released can be filled with
    another sentence. The tensors of the methods have one row for each hypothesis of each occupied slot:
    slots in ascending order, the hypotheses of a slot next to each other. The logits of a sentence depend
    neither on its slot nor on the sentences in other slots.

    `Generator.slots` returns slots. A model with its own slots can allocate its caches once, store what it
    computes from the source once per sentence, and move nothing when hypotheses are reordered, because
    `reorder` never mixes sentences. It may also compute released slots, but must not return their logits.
    """

    hypotheses: int
    """The number of hypotheses of each slot, K."""

    occupied: list[int]
    """The numbers of the occupied slots, in ascending order; all slots at first."""

    @abstractmethod
    def step(self, ids: Tensor) -> Tensor:
        """Advance each hypothesis by one token of `ids` [N], BOS first; return the next logits [N, V]."""

    @abstractmethod
    def reorder(self, parents: Tensor) -> None:
        """Replace each hypothesis by a hypothesis of the same slot.

        Args:
            parents: for each new hypothesis the number of the old one within its slot: [A, K] int64
        """

    @abstractmethod
    def release(self, slots: Collection[int]) -> None:
        """Remove the sentences in these slots; the other slots keep their numbers."""

    @abstractmethod
    def fill(self, slots: Sequence[int], memory: State) -> None:
        """Put further sentences into released slots; their first token is BOS.

        Args:
            slots: the numbers of the slots, one for each sentence
            memory: the encoded sentences; their outputs have at most as many tokens as `capacity` allows
        """


class SteppedModel(Protocol):
    """The methods of a model that the default slots call."""

    def start(self, memory: State, capacity: int | None) -> State:
        """Return the state before the first target token."""
        ...

    def advance(self, ids: Tensor, state: State, keep: Tensor | None) -> tuple[Tensor, State]:
        """Advance by target ids [B, T]; return outputs [B, T, D] and the state after these tokens."""
        ...

    def head(self, outputs: Tensor) -> Tensor:
        """Return the logits of the next token."""
        ...


class _Group:
    """Slots that were filled together: one state of the model, with a row for each hypothesis.

    Rows are selected in the next step, so that several selections copy the state only once.
    """

    def __init__(self, slots: Sequence[int], hypotheses: int, state: State) -> None:
        self.slots = list(slots)
        self.hypotheses = hypotheses
        self.state = state if hypotheses == 1 else fork(state, hypotheses)
        self._index: Tensor | None = None  # [N] the rows to select; None: all

    def step(self, model: SteppedModel, ids: Tensor) -> Tensor:
        """Advance by ids [N]; return logits [N, V]."""
        state = self.state if self._index is None else rows(self.state, self._index)
        self._index = None
        outputs, self.state = model.advance(ids[:, None], state, None)
        return model.head(outputs[:, -1])

    def reorder(self, parents: Tensor) -> None:
        """Select a hypothesis of the same slot for each hypothesis: [A, K]."""
        first = torch.arange(0, parents.numel(), self.hypotheses, device=parents.device)
        self._select((first[:, None] + parents).flatten())

    def release(self, slots: Collection[int], device: torch.device) -> None:
        """Drop the rows of some slots."""
        kept = [i for i, slot in enumerate(self.slots) if slot not in slots]
        changes = len(kept) < len(self.slots)
        self.slots = [self.slots[i] for i in kept]
        if not (kept and changes):
            return
        index = to_device(torch.tensor(kept), device)[:, None] * self.hypotheses
        self._select((index + torch.arange(self.hypotheses, device=device)).flatten())

    def _select(self, index: Tensor) -> None:
        self._index = index if self._index is None else self._index[index]


class StateSlots(Slots):
    """Slots that keep the state of a model, and select its rows.

    Sentences that were put into slots at different times are advanced one group after the other, because the
    tensors of their states may have different shapes. So filling a slot is no faster than a new batch.

    Args:
        model: the model
        memory: the encoded sentences, one for each slot
        count: number of slots
        hypotheses: number of hypotheses of each slot, K
        capacity: maximum number of tokens that will be written, if it is known
    """

    def __init__(
        self, model: SteppedModel, memory: State, count: int, hypotheses: int, capacity: int | None
    ) -> None:
        self.hypotheses = hypotheses
        self.occupied = [*range(count)]
        self._model = model
        self._capacity = capacity
        self._device = torch.device("cpu")  # from the first step on, that of the tokens
        self._groups = [_Group(self.occupied, hypotheses, model.start(memory, capacity))]

    def step(self, ids: Tensor) -> Tensor:
        """Advance each hypothesis by one token of `ids` [N], BOS first; return the next logits [N, V]."""
        self._device = ids.device
        if len(self._groups) == 1:
            return self._groups[0].step(self._model, ids)
        parts = self._split(ids.view(-1, self.hypotheses))
        logits = [
            group.step(self._model, part.flatten()) for group, part in zip(self._groups, parts, strict=True)
        ]
        by_slot = torch.cat(logits).view(len(self.occupied), self.hypotheses, -1)  # [A, K, V], group by group
        return by_slot[self._rows().argsort()].flatten(0, 1)

    def reorder(self, parents: Tensor) -> None:
        """Replace each hypothesis by a hypothesis of the same slot: [A, K]."""
        for group, part in zip(self._groups, self._split(parents), strict=True):
            group.reorder(part)

    def release(self, slots: Collection[int]) -> None:
        """Remove the sentences in these slots; the other slots keep their numbers."""
        for group in self._groups:
            group.release(slots, self._device)
        self._groups = [group for group in self._groups if group.slots]
        self.occupied = [slot for slot in self.occupied if slot not in slots]

    def fill(self, slots: Sequence[int], memory: State) -> None:
        """Put further sentences into released slots; their first token is BOS."""
        self._groups.append(_Group(slots, self.hypotheses, self._model.start(memory, self._capacity)))
        self.occupied = sorted([*self.occupied, *slots])

    def _rows(self) -> Tensor:
        """Return the row of each slot among the occupied ones, group by group: [A]."""
        row_of = {slot: row for row, slot in enumerate(self.occupied)}
        rows_by_group = [row_of[slot] for group in self._groups for slot in group.slots]
        return to_device(torch.tensor(rows_by_group), self._device)

    def _split(self, by_slot: Tensor) -> Sequence[Tensor]:
        """Return the rows of a tensor [A, K] that belong to each group."""
        if len(self._groups) == 1:
            return [by_slot]
        return torch.split(by_slot[self._rows()], [len(group.slots) for group in self._groups])
