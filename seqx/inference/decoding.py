"""Split inputs into pieces that a model can read, answer the pieces in batches, and join the answers."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from seqx.errors import PluginError, UserError, shortened
from seqx.interfaces.learning import Hypothesis, Search, SearchTrace, Trace
from seqx.interfaces.networks import Model
from seqx.interfaces.rows import value_text
from seqx.interfaces.scores import AnswerWarning
from seqx.interfaces.task import (
    Candidate,
    InputError,
    Inputs,
    NBest,
    Request,
    Task,
    Values,
    distinct,
    sum_warnings,
)
from seqx.interfaces.tensors import EOS, WORDS, Batch, Column, Features
from seqx.plugin.registry import where
from seqx.runtime.devices import BatchShrinker

DEFAULT_MAX_LENGTH = 1024
"""The maximum tokens of a piece if neither task nor model has a limit; attention takes quadratic memory."""

BATCH_TOKENS = {"cpu": 32_768, "cuda": 524_288}
"""The default maximum of padded tokens of a batch, by the type of the device."""

_MAX_WIDENINGS = 3
"""The maximum number of times that the beam is doubled because hypotheses have the same text."""

_MAX_SOURCE = 1 << 30


class TooLongError(UserError):
    """An input with more tokens than the model can read."""


@dataclass(frozen=True)
class Piece:
    """An input, or one part of an input that was split."""

    index: int  # the number of the input in its window
    request: Request
    columns: Mapping[str, Values]
    traces: list[Trace] = field(default_factory=list)  # of each search for an answer; empty if not recorded

    @property
    def beginning(self) -> str:
        """The beginning of the input, for messages."""
        return value_text(self.request.input)[:40]

    @property
    def length(self) -> int:
        """The number of source tokens, EOS included."""
        return len(self.columns["source"])

    @property
    def has_vectors(self) -> bool:
        """True if the source is an array of vectors."""
        return getattr(self.columns["source"], "ndim", 1) > 1

    @property
    def ends_with_eos(self) -> bool:
        """True if the last token of the source is EOS."""
        return self.length > 0 and not self.has_vectors and self.columns["source"][-1] == EOS

    @property
    def is_empty(self) -> bool:
        """True if the source has no token except EOS."""
        return self.length == 0 or (
            self.ends_with_eos and all(token == EOS for token in self.columns["source"])
        )


@dataclass(frozen=True)
class SplitInput:
    """The pieces of one input. An input that is empty or too long has no pieces."""

    pieces: Sequence[Piece] = ()
    was_split: bool = False
    too_long: bool = False

    def warnings(self, max_length: int) -> Iterable[AnswerWarning]:
        """Yield the warnings about the length of the input, each with a count of 0 or 1."""
        too_long = f"inputs have more than {max_length} tokens"
        yield AnswerWarning(f"{too_long}; they were answered in parts", int(self.was_split), 1)
        yield AnswerWarning(f"{too_long} and cannot be split; their answers are empty", int(self.too_long), 1)


def split_input(
    task: Task, request: Request, index: int, *, max_length: int, model_limit: int | None
) -> SplitInput:
    """Split an input into pieces of at most `max_length` tokens, as far as the task can split it.

    The first piece gets the prefix and the required phrases of the request. Every piece gets the forbidden
    phrases.

    Args:
        task: tokenizes and splits the text
        request: the input
        index: the number of the input in its window
        max_length: the maximum tokens of a piece, EOS included
        model_limit: the maximum tokens that the model can read; None: no limit

    Raises:
        TooLongError: a piece that the task cannot split has more tokens than the model can read
        UserError: the input has another type than the task reads, a text is not valid Unicode, or the task
            cannot read the input
    """
    _check_type(request.input, task.input_type)
    for text in (request.input, request.prefix, *request.require, *request.forbid):
        if isinstance(text, str):
            _check_unicode(text)
    if request.constrained and not task.accepts_constraints:
        raise UserError("the task of this model does not support prefixes and phrases; leave them out")
    if isinstance(request.input, str) and not request.input.strip():
        return SplitInput()
    whole = Piece(index, request, _checked(task, task.read(request.input)))
    if whole.length <= max_length:
        return SplitInput([] if whole.is_empty else [whole])
    first, *others = task.split_long_input(request.input, max_length)
    pieces = [whole]
    if others or first is not request.input:  # a single part has less white space, for example
        requests = [replace(request, input=first)]
        requests += [Request(input=other, forbid=request.forbid) for other in others]
        pieces = [Piece(index, part, _checked(task, task.read(part.input))) for part in requests]
    longest = max(piece.length for piece in pieces)
    # A model without a limit can read more tokens than in training, but attention needs quadratic memory.
    limit = max(max_length, 4 * DEFAULT_MAX_LENGTH) if model_limit is None else model_limit
    if longest > limit:
        raise TooLongError(
            f"an input has {longest} tokens, but the model reads at most {limit}; shorten it "
            f"(it begins {whole.beginning!r})"
        )
    return SplitInput([piece for piece in pieces if not piece.is_empty], was_split=bool(others))


def _checked(task: Task, columns: Mapping[str, Values]) -> Mapping[str, Values]:
    """Return the columns of an input that a task has read.

    Raises:
        PluginError: the task has returned no source
        UserError: the source has vectors of another size than the model reads
    """
    source: Any = columns.get("source")
    if isinstance(source, list):  # of ids
        return columns
    try:
        shape = np.shape(source)
    except ValueError as error:
        raise PluginError(f"{where(type(task))}: the source that `read` returns: {error}") from None
    if not shape:
        raise PluginError(f"{where(type(task))}: `read` must return a column 'source' with ids or vectors")
    size = task.vocab_sizes.get("source")
    if isinstance(size, Features) and shape[0] and shape[1:] != (size,):
        raise UserError(
            f"an input has the shape {list(shape)}, but the model reads vectors of {size} features; pass an "
            f"array of the shape [length, {size}]"
        )
    return columns


def join_pieces(task: Task, answers: Sequence[NBest]) -> NBest:
    """Return the n-best list of an input, made of the answers to its pieces.

    A single piece keeps its list. Several pieces get one answer: their best answers, joined, with the sums of
    their scores and log-probabilities. There is no answer if one of the pieces has none.
    """
    if len(answers) == 1:
        return answers[0]
    warnings = sum_warnings(answers)
    traces = [trace for nbest in answers for trace in nbest.traces]
    if not answers or not all(answers):
        return NBest(warnings=warnings, traces=traces)
    hypotheses = [nbest[0].hypothesis for nbest in answers]
    joined = Hypothesis(
        ids=[token for hypothesis in hypotheses for token in hypothesis.ids],
        score=math.fsum(hypothesis.score for hypothesis in hypotheses),
        logprob=math.fsum(hypothesis.logprob for hypothesis in hypotheses),
    )
    return NBest([Candidate(task.join([nbest.text for nbest in answers]), joined)], warnings, traces)


def _check_type(value: object, expected: type) -> None:
    if not isinstance(value, expected):
        expected_name = "strings" if expected is str else f"inputs of type {expected.__name__}"
        raise UserError(
            f"a model answers {expected_name}, not {type(value).__name__}: {shortened(repr(value), 60)}; "
            f"pass {expected_name}"
        )


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{text[:40]!r} is not valid Unicode: it has a lone surrogate at {error.start}; remove it"
        ) from None


def longest_source(model: Model) -> int | None:
    """Return the largest number of source tokens that a model can read; None if it has no limit.

    A source that an input layer shortens may have more tokens than `Model.limit`.
    """
    limit = model.limit
    if limit is None:
        return None

    def is_too_long(source: int) -> bool:
        return bool(model.positions_used({"source": np.array([source]), "target": np.array([1])})[0] > limit)

    if not is_too_long(limit) and is_too_long(limit + 1):  # the source is not shortened
        return limit
    return bisect_left(range(1, _MAX_SOURCE), x=True, key=is_too_long)


def output_limits(pieces: Sequence[Piece], model: Model, search: Search | None) -> list[int]:
    """Return the maximum output tokens for each piece, EOS excluded; 0 without a search.

    The search sets the limit. A model with a maximum length may lower it, to this length minus the positions
    that are in use: one for BOS, or those of the source in a model with `single_sequence`.
    """
    if search is None:
        return [0 for _ in pieces]
    lengths = [piece.length - piece.ends_with_eos for piece in pieces]
    limits = search.max_lengths(torch.tensor(lengths, dtype=torch.int64))
    if model.limit is not None:
        used_positions = [piece.length if model.single_sequence else 1 for piece in pieces]
        limits = limits.minimum(model.limit - torch.tensor(used_positions)).clamp_min(0)
    return limits.tolist()


def make_batches(
    pieces: Sequence[Piece], limits: Sequence[int], *, width: int, batch_tokens: int
) -> Iterator[list[int]]:
    """Yield the indices of the pieces of each batch, longest pieces first.

    Args:
        pieces: the pieces of all batches
        limits: the maximum output tokens for each piece
        width: the number of hypotheses of a piece that the search extends at once
        batch_tokens: the maximum padded tokens of a batch. Each hypothesis counts with its source and its
            longest possible output.
    """
    batch: list[int] = []
    longest = 0
    for i in sorted(range(len(pieces)), key=lambda i: -pieces[i].length):
        tokens = pieces[i].length + limits[i] + 1
        padded = max(longest, tokens)
        if batch and padded * (len(batch) + 1) * width > batch_tokens:
            yield batch
            batch, padded = [], tokens
        batch.append(i)
        longest = padded
    if batch:
        yield batch


def source_batch(pieces: Sequence[Piece]) -> Batch:
    """Return the columns of several pieces, padded; its `count` is 0, because there are no targets."""
    columns = {name: padded([piece.columns[name] for piece in pieces]) for name in pieces[0].columns}
    if WORDS in columns:
        source, starts = columns["source"], columns.pop(WORDS).values
        columns["source"] = Column.of(source.values, source.layout.keep.sum(1), starts)
    return Batch(columns, 0)


def padded(rows: Sequence[Values]) -> Column:
    """Return rows of ids, floats or vectors, padded on the right."""
    lengths = torch.tensor([len(row) for row in rows])
    values = pad_sequence([torch.as_tensor(np.asarray(row)) for row in rows], batch_first=True)
    has_ids = values.dim() == 2 and not values.is_floating_point()
    return Column.of(values.long() if has_ids else values.float(), lengths)


class BatchDecoder:
    """A decoder that answers pieces in batches that fit into memory.

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
