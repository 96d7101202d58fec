"""Decoding of pieces in batches, until each piece has enough answers with different texts."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch

from seqx.constraints import Intersection
from seqx.errors import UserError
from seqx.inference.pieces import InputError, Piece, make_batches, output_limits, source_tokens
from seqx.interfaces.learning import Grammar, Search
from seqx.interfaces.networks import Model
from seqx.interfaces.task import Candidate, NBest, Task, distinct
from seqx.runtime.devices import raise_torch_oom

_MAX_WIDENINGS = 3
"""The maximum number of times that the beam is doubled because hypotheses have the same text."""


T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("seqx.inference")


class BatchDecoder:
    """A decoder of pieces, which forms batches that fit into memory.

    The caller puts the model into evaluation mode and turns gradients off.

    Args:
        task: provides the grammar of the answers, and turns ids into text
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
        self._shrinker = BatchShrinker(device)

    def decode(self, pieces: Sequence[Piece], search: Search) -> list[list[Candidate]]:
        """Return all hypotheses of each piece with their texts, best first.

        Raises:
            InputError: a single piece runs out of memory, or the task rejects its constraints
        """
        limits = output_limits(pieces, self.model, search)
        candidates: list[list[Candidate]] = [[] for _ in pieces]
        for batch in make_batches(pieces, limits, width=search.width, batch_tokens=self.batch_tokens):
            self.before_batch()
            compute = partial(self._decode_batch, pieces, limits, search)
            try:
                for part, results in self._shrinker(batch, compute):
                    for i, result in zip(part, results, strict=True):
                        candidates[i] = result
            except torch.OutOfMemoryError:
                raise self._out_of_memory([pieces[i] for i in batch]) from None
        return candidates

    def nbest(
        self, pieces: Sequence[Piece], search: Search, candidates: Sequence[list[Candidate]]
    ) -> list[NBest]:
        """Return up to `search.num_answers` answers with different texts for each piece.

        Several hypotheses can have the same text. A piece with too few different texts is decoded again with
        `Search.wider`, until it has enough or the search finds no more hypotheses.

        Args:
            pieces: the decoded pieces
            search: the search that found the candidates
            candidates: the candidates of each piece, from `decode`
        """
        num_answers = search.num_answers
        newest = [*candidates]
        answers = list(map(distinct, newest))
        for _ in range(_MAX_WIDENINGS):
            incomplete = [
                i
                for i in range(len(pieces))
                if len(answers[i]) < num_answers and len(newest[i]) >= search.num_answers
            ]
            wider = search.wider() if incomplete else None
            if wider is None:
                break
            search = wider
            try:
                results = self.decode([pieces[i] for i in incomplete], search)
            except InputError:  # out of memory with the wider beam: keep the answers of the narrower one
                break
            for i, result in zip(incomplete, results, strict=True):
                best_first = sorted([*answers[i], *result], key=lambda candidate: -candidate.hypothesis.score)
                answers[i], newest[i] = distinct(best_first)[:num_answers], result
        return [
            NBest(best, self.task.answer_warnings(piece.text, [answer.hypothesis.ids for answer in best]))
            for piece, best in zip(pieces, answers, strict=True)
        ]

    def _decode_batch(
        self, pieces: Sequence[Piece], limits: Sequence[int], search: Search, indices: Sequence[int]
    ) -> list[list[Candidate]]:
        """Decode the pieces at `indices` as one batch; labels and search use the same encoded source."""
        batch = [pieces[i] for i in indices]
        source = source_tokens(batch).to(self.device)
        memory = self.model.encode(source)
        labels = self.model.labels(memory) if self.model.has_token_labels else {}
        batch_limits = [limits[i] for i in indices]
        try:
            hypotheses = search(self.model, source, torch.tensor(batch_limits), self._grammar(batch), memory)
        except UserError as error:
            raise self._constraint_error(batch, batch_limits) or error from None
        best_labels = {column: logits.argmax(-1).tolist() for column, logits in labels.items()}
        results = []
        for row, (piece, nbest) in enumerate(zip(batch, hypotheses, strict=True)):
            piece_labels = {column: ids[row][: piece.length] for column, ids in best_labels.items()}
            results.append([Candidate(self.task.write(h.ids, piece.text, piece_labels), h) for h in nbest])
        return results

    def _grammar(self, pieces: Sequence[Piece]) -> Grammar | None:
        """Return the grammar of the task and the requests together; None if there is neither."""
        grammar = self.task.grammar([piece.columns for piece in pieces])
        requests = [piece.request for piece in pieces]
        if not any(request.constrained for request in requests):
            return grammar
        constraint = self.task.constraint(requests)
        return constraint if grammar is None else Intersection(grammar, constraint)

    def _constraint_error(self, pieces: Sequence[Piece], limits: Sequence[int]) -> InputError | None:
        """Return the error of the first input whose constraints the task rejects; None if it accepts all."""
        for piece, limit in sorted(zip(pieces, limits, strict=True), key=lambda pair: pair[0].index):
            if piece.request.constrained:
                try:
                    self.task.constraint([piece.request]).start(1, torch.tensor([limit]))
                except UserError as error:
                    return InputError(str(error), piece.index)
        return None

    def _out_of_memory(self, batch: Sequence[Piece]) -> InputError:
        """Return the error for a batch in which a single piece ran out of memory; quote the longest piece."""
        longest = max(batch, key=lambda piece: piece.length)
        return InputError(
            f"{self.device} ran out of memory with a single input (up to {longest.length} tokens, beginning "
            f"{longest.text[:40]!r}); shorten it, or set a smaller search.size, or a smaller task.max_length "
            "if the task has this setting",
            longest.index,
        )


class BatchShrinker:
    """A callable that computes a batch, and splits it into halves if it runs out of memory.

    It remembers the largest fraction of a batch that may fit, and splits later batches into such parts.

    Args:
        device: the device of the model
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._fraction = 1.0  # the largest fraction of a batch that may fit into memory

    def __call__(
        self, batch: Sequence[T], compute: Callable[[Sequence[T]], R]
    ) -> Iterator[tuple[Sequence[T], R]]:
        """Compute a batch in parts that fit into memory; yield each part and its result, in order.

        Raises:
            OutOfMemoryError: a single row does not fit
        """
        size = max(1, int(len(batch) * self._fraction))
        pending = deque(batch[start : start + size] for start in range(0, len(batch), size))
        while pending:
            part = pending.popleft()
            try:
                with raise_torch_oom():
                    results = [compute(part)]
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                results = []  # split after this block, because its traceback keeps tensors in memory
            if results:
                yield part, results[0]
            else:
                pending.extendleft(reversed(self._halves(part, len(batch))))

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
