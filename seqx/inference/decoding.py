"""Answers to pieces in batches, until each piece has enough answers with different texts."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch

from seqx.inference.pieces import Piece, make_batches, output_limits, source_batch
from seqx.interfaces.learning import Search, SearchTrace
from seqx.interfaces.networks import Model
from seqx.interfaces.task import Candidate, InputError, Inputs, NBest, Task, distinct
from seqx.runtime.devices import raise_torch_oom

_MAX_WIDENINGS = 3
"""The maximum number of times that the beam is doubled because hypotheses have the same text."""


T = TypeVar("T")

log = logging.getLogger("seqx.inference")


class BatchDecoder:
    """Answers pieces in batches that fit into memory.

    The caller puts the model into evaluation mode and turns gradients off.

    Args:
        task: asks the model for the answers
        model: the model, on `device`
        device: the device of the model
        batch_tokens: the maximum padded tokens of a batch, see `make_batches`
        before_batch: called before each batch. It may raise an exception to end decoding.
    """

    def __init__(
        self,
        task: Task,
        model: Model,
        *,
        device: torch.device,
        batch_tokens: int,
        before_batch: Callable[[], None],
    ) -> None:
        self.task = task
        self.model = model
        self.device = device
        self.batch_tokens = batch_tokens
        self.before_batch = before_batch
        self.records_traces = False
        self._shrinker = BatchShrinker(device)

    def decode(
        self, pieces: Sequence[Piece], search: Search | None, num_answers: int
    ) -> list[list[Candidate]]:
        """Return all answers of the task to each piece, best first.

        Raises:
            InputError: a single piece runs out of memory, or the task rejects its constraints
        """
        limits = output_limits(pieces, self.model, search)
        width = 1 if search is None else search.width
        candidates: list[list[Candidate]] = [[] for _ in pieces]
        for batch in make_batches(pieces, limits, width=width, batch_tokens=self.batch_tokens):
            self.before_batch()
            try:
                for part, attempt in self._shrinker.parts(batch):
                    with attempt:
                        inputs = self._inputs(
                            [pieces[i] for i in part], [limits[i] for i in part], num_answers
                        )
                        answers = self.task.answer(self.model, inputs, search)
                        for i, answer in zip(part, answers, strict=True):
                            candidates[i] = list(answer)
                        if inputs.trace is not None:
                            for i, steps in zip(part, inputs.trace.steps, strict=True):
                                pieces[i].traces.append(steps)
            except InputError as error:
                raise InputError(str(error), pieces[part[error.index]].index) from None
            except torch.OutOfMemoryError:
                raise self._out_of_memory([pieces[i] for i in batch]) from None
        return candidates

    def nbest(
        self,
        pieces: Sequence[Piece],
        search: Search | None,
        candidates: Sequence[list[Candidate]],
        num_answers: int,
    ) -> list[NBest]:
        """Return up to `num_answers` answers with different texts for each piece.

        Several hypotheses can have the same text. A piece with too few different texts is decoded again with
        `Search.wider`, until it has enough or the search finds no more hypotheses.

        Args:
            pieces: the decoded pieces
            search: the search that found the candidates; None: the task does not use one
            candidates: the candidates of each piece, from `decode`
            num_answers: the maximum number of answers to a piece
        """
        newest, wanted = [*candidates], num_answers
        answers = [distinct(piece_candidates)[:num_answers] for piece_candidates in newest]
        for _ in range(_MAX_WIDENINGS):
            incomplete = [
                i for i in range(len(pieces)) if len(answers[i]) < num_answers and len(newest[i]) >= wanted
            ]
            search = search.wider() if search is not None and incomplete else None
            if search is None:
                break
            wanted = search.num_answers
            try:
                results = self.decode([pieces[i] for i in incomplete], search, num_answers)
            except InputError:  # out of memory with the wider beam: keep the answers of the narrower one
                break
            for i, result in zip(incomplete, results, strict=True):
                best_first = sorted([*answers[i], *result], key=lambda candidate: -candidate.hypothesis.score)
                answers[i], newest[i] = distinct(best_first)[:num_answers], result
        return [
            NBest(
                best,
                self.task.answer_warnings(piece.request.input, [answer.hypothesis.ids for answer in best]),
                [piece.traces] if piece.traces else [],
            )
            for piece, best in zip(pieces, answers, strict=True)
        ]

    def _inputs(self, pieces: Sequence[Piece], limits: Sequence[int], num_answers: int) -> Inputs:
        """Return the pieces of a batch as the inputs of `Task.answer`."""
        return Inputs(
            requests=[piece.request for piece in pieces],
            columns=[piece.columns for piece in pieces],
            batch=source_batch(pieces).to(self.device),
            max_lengths=torch.tensor(limits),
            num_answers=num_answers,
            trace=SearchTrace(len(pieces)) if self.records_traces else None,
        )

    def _out_of_memory(self, batch: Sequence[Piece]) -> InputError:
        """Return the error for a batch in which a single piece ran out of memory; quote the longest piece."""
        longest = max(batch, key=lambda piece: piece.length)
        return InputError(
            f"{self.device} ran out of memory with a single input (up to {longest.length} tokens, beginning "
            f"{longest.beginning!r}); shorten it, or set a smaller search.size, or a smaller task.max_length "
            "if the task has this setting",
            longest.index,
        )


class BatchShrinker:
    """Divides batches into parts that fit into memory, and splits a part into halves if it does not fit.

    It remembers the largest fraction of a batch that may fit, and splits later batches into such parts.

    Args:
        device: the device of the model
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._fraction = 1.0  # the largest fraction of a batch that may fit into memory

    def parts(self, batch: Sequence[T]) -> Iterator[tuple[Sequence[T], AbstractContextManager[None]]]:
        """Yield the parts of a batch in order, each with a context in which to compute it.

        If a part runs out of memory in its context, its halves are yielded next. A single row that does not
        fit raises an OutOfMemoryError.
        """
        size = max(1, int(len(batch) * self._fraction))
        pending = deque(batch[start : start + size] for start in range(0, len(batch), size))
        while pending:
            part = pending.popleft()
            failed: list[Sequence[T]] = []
            yield part, _note_out_of_memory(part, failed)
            # Split after the context, because the traceback of the error keeps tensors in memory.
            for too_large in failed:
                pending.extendleft(reversed(self._halves(too_large, len(batch))))

    def _halves(self, part: Sequence[T], batch_size: int) -> tuple[Sequence[T], Sequence[T]]:
        if self._fraction == 1.0:
            log.warning(
                "%s ran out of memory with a batch of %d inputs; continuing with smaller batches",
                self.device,
                len(part),
            )
        middle = len(part) // 2
        self._fraction = min(self._fraction, middle / batch_size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # cached blocks of a large batch are too fragmented for smaller ones
        return part[:middle], part[middle:]


@contextmanager
def _note_out_of_memory(part: Sequence[T], failed: list[Sequence[T]]) -> Iterator[None]:
    """Append a part to `failed` if the block runs out of memory; a single row raises the error."""
    try:
        with raise_torch_oom():
            yield
    except torch.OutOfMemoryError:
        if len(part) == 1:
            raise
        failed.append(part)
