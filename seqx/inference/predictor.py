"""The predictor: it splits inputs into pieces, answers the pieces in batches, and joins the answers."""

import math
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Self

import numpy as np
import torch

from seqx.errors import NotFiniteError, UserError
from seqx.inference.attention_maps import AttentionMaps, attention_maps
from seqx.inference.decoding import (
    BATCH_TOKENS,
    DEFAULT_MAX_LENGTH,
    BatchDecoder,
    Piece,
    SplitInput,
    TooLongError,
    join_pieces,
    longest_source,
    padded,
    source_batch,
    split_input,
)
from seqx.inference.parts import InputParts
from seqx.inference.scoring import token_logprobs
from seqx.interfaces.learning import Search
from seqx.interfaces.networks import Model
from seqx.interfaces.task import Example, InputError, NBest, Request, Task, Values
from seqx.interfaces.tensors import BOS, EOS, Batch, smallest_limit
from seqx.parallel import SINGLE_PROCESS, World
from seqx.plugin.notebook import notebook_html
from seqx.runtime.devices import autocast
from seqx.runtime.precision import ComputePrecision
from seqx.runtime.signals import Stopped


class Predictor:
    """A model with its task and search, which answers texts.

    The answers to an input have different texts: of several hypotheses with the same text only the best is
    kept. If fewer than `num_answers` remain, the input is decoded again with `Search.wider`.

    The answer to an empty input is empty, and the model is not called. The task splits an input of more than
    `max_length` tokens into parts, and joins the best answers to the parts. The score and the
    log-probability of the joined answer are the sums over its parts.

    An input may be a `Request` with constraints: a prefix of the answer, required phrases and forbidden
    phrases. If no output within the search's length limit meets the constraints, there is no answer. If the
    input is split, the first part gets the prefix and the required phrases, and every part the forbidden
    phrases.

    Args:
        task: reads inputs, and asks the model for answers
        model: the model, on `device`
        search: finds the answers; None: the task does not use a search
        device: the device of the model
        precision: the number format of matrix products; int8 applies to packed weights, fp32 to all others
        batch_tokens: the maximum padded tokens of a batch. Each hypothesis counts with its source and its
            longest possible output. The default depends on the type of the device.
        before_batch: called before each batch. It may raise an exception to end the work.
        world: the ranks that share the work. Each rank gets all inputs and returns all answers.
        lenient: return an empty answer and a warning for an input that is too long and cannot be split;
            otherwise such an input raises an `InputError`
        num_answers: the number of different answers to an input; None: that of the search, or one

    Raises:
        UserError: batch_tokens is not positive
    """

    window = 2048
    """The number of inputs that are read before the first is answered. They are sorted by length, which saves
    padding."""

    def __init__(
        self,
        task: Task,
        model: Model,
        search: Search | None,
        *,
        device: torch.device,
        precision: ComputePrecision = "fp32",
        batch_tokens: int | None = None,
        before_batch: Callable[[], None] = lambda: None,
        world: World = SINGLE_PROCESS,
        lenient: bool = False,
        num_answers: int | None = None,
    ) -> None:
        if batch_tokens is not None and batch_tokens < 1:
            raise UserError(f"batch_tokens is {batch_tokens}; set it to 1 or more")
        self.task = task
        self.model = model
        self.search = search
        self.device = device
        self.precision: ComputePrecision = precision
        self.before_batch = before_batch
        self.world = world
        self.lenient = lenient
        self.num_answers = num_answers or (1 if search is None else search.num_answers)
        self._decoder = BatchDecoder(
            task,
            model,
            device=device,
            batch_tokens=batch_tokens or BATCH_TOKENS[device.type],
            before_batch=before_batch,
        )

    def _repr_html_(self) -> str | None:
        return notebook_html(self)

    def record_traces(self) -> None:
        """Record the hypotheses of each step of the search from now on, in `NBest.traces`."""
        self._decoder.records_traces = True

    def with_answers(self, number: int) -> Self:
        """Return a predictor of the same model that returns up to `number` answers to an input.

        The search is otherwise the same, so a beam search returns at most as many as its beam size.

        Raises:
            UserError: `number` is less than 1
        """
        if number < 1:
            raise UserError(f"with_answers: the number of answers is {number}; pass 1 or more")
        search = None if self.search is None else self.search.with_answers(number)
        return type(self)(
            self.task,
            self.model,
            search,
            device=self.device,
            precision=self.precision,
            batch_tokens=self._decoder.batch_tokens,
            before_batch=self.before_batch,
            world=self.world,
            lenient=self.lenient,
            num_answers=number if search is None else search.num_answers,
        )

    @property
    def max_length(self) -> int:
        """The maximum tokens, EOS included, of an input that is not split."""
        return smallest_limit(self.task.max_length, longest_source(self.model)) or DEFAULT_MAX_LENGTH

    def __call__(self, inputs: Iterable[Any]) -> list[str]:
        """Return the best answer to each input, in the order of the inputs; "" if there is none.

        Raises:
            InputError: an input cannot be answered
        """
        nbests = list(self.hypotheses(inputs))
        return [nbest.text for nbest in nbests]

    def hypotheses(self, inputs: Iterable[Any], window: int | None = None) -> Iterator[NBest]:
        """Yield the n-best list of each input, in the order of the inputs.

        Args:
            inputs: values that the task reads, such as texts, or requests
            window: the number of inputs that are read before the first is answered; None: `Predictor.window`

        Raises:
            InputError: an input cannot be answered. With one rank, the answers to the inputs before it are
                yielded first.
            UserError: `inputs` is a single string
        """
        if isinstance(inputs, str | bytes):
            raise UserError("inputs is a single string; pass a list of strings, such as [text]")
        remaining, start = iter(inputs), 0
        while batch := list(islice(remaining, window or self.window * self.world.size)):
            nbests, error = self._answer_before_error(batch)
            yield from nbests
            if error is not None:
                raise InputError(str(error), start + error.index) from error
            start += len(batch)

    def parts(self, value: Any) -> InputParts:
        """Return the parts of an input that are answered separately; one if the input is not split.

        A server answers them at different times, so that a long input does not delay others.

        Raises:
            InputError: the input cannot be answered
        """
        request = value if isinstance(value, Request) else Request(input=value)
        split = self._split(0, request)
        requests = [piece.request for piece in split.pieces] if split.was_split else [request]
        lengths = [piece.length for piece in split.pieces] or [1]
        return InputParts(requests or [request], lengths, [*split.warnings(self.max_length)], self.task)

    def logprobs(self, examples: Sequence[Example]) -> list[float | None]:
        """Return the natural log-probability of each example's target, given its source.

        The value is None if `token_logprobs` returns None.

        Raises:
            UserError: a single example runs out of memory
        """
        return [None if tokens is None else math.fsum(tokens) for tokens in self.token_logprobs(examples)]

    def token_logprobs(self, examples: Sequence[Example]) -> list[list[float] | None]:
        """Return the natural log-probability of each token of each example's target, given its source.

        The value is None if the example is too long to be scored in one forward pass. This is so if

        - the source is longer than `max_length`,
        - the target is longer than `max_length` and longer than any output of the search, or
        - source and target exceed the limit of the model.

        Raises:
            UserError: a single example runs out of memory
        """
        scorable = self._scorable(examples)
        indices = scorable[self.world.rank :: self.world.size]
        columns = [examples[i].columns for i in indices]
        values: list[list[float]] = []
        with stop_together(self.world), inference_mode(self.model, self.device, self.precision):
            values = token_logprobs(self.model, columns, device=self.device, before_batch=self.before_batch)
        result: list[list[float] | None] = [None] * len(examples)
        for scored in self.world.all_gather(list(zip(indices, values, strict=True))):
            for i, value in scored:
                result[i] = value
        return result

    def attention(self, source: Any, ids: Sequence[int] | None = None) -> AttentionMaps | None:
        """Return the attention weights while the model reads an input and predicts an answer.

        Return None if the input is empty or longer than `max_length`, if the source has vectors, or if there
        is no answer.

        Args:
            source: the input
            ids: the ids of the answer; None: those of the best answer
        """
        if ids is None:
            (nbest,) = self.hypotheses([source])
            if not nbest:
                return None
            ids = nbest[0].hypothesis.ids
        columns = self.pair_columns(source, ids)
        return None if columns is None else self.attention_of(columns)

    def attention_of(self, columns: Mapping[str, Values]) -> AttentionMaps | None:
        """Return the attention weights while the model reads a source and predicts a target.

        Return None if the source is longer than `max_length`.
        """
        target = columns["target"]
        piece = Piece(0, Request(input=""), {name: columns[name] for name in columns if name != "target"})
        if piece.length > self.max_length:
            return None
        batch = Batch({**source_batch([piece]).columns, "target": padded([target])}, len(target))
        with inference_mode(self.model, self.device, self.precision):
            maps = attention_maps(self.model, batch.to(self.device))
        return AttentionMaps(self.symbols("source", columns["source"]), self.symbols("target", target), maps)

    def pair_columns(self, source: Any, ids: Sequence[int]) -> Mapping[str, Values] | None:
        """Return the columns of an input and of an answer with these ids.

        Return None if the input is empty or longer than `max_length`, or if the source has vectors.
        """
        split = self._split(0, Request(input=source))
        pieces = split.pieces
        if len(pieces) != 1 or split.was_split or pieces[0].length > self.max_length or pieces[0].has_vectors:
            return None
        return {**pieces[0].columns, "target": self.task.target_column(ids)}

    def _answer_before_error(self, values: Sequence[Any]) -> tuple[list[NBest], InputError | None]:
        """Answer the inputs of one window before the first that cannot be answered; also return its error."""
        try:
            return self._answer(values), None
        except InputError as error:
            if self.world.size > 1:  # another rank may have no error, and would not answer again
                return [], error
            nbests, earlier = self._answer_before_error(values[: error.index])
            return nbests, earlier or error

    def _answer(self, values: Sequence[Any]) -> list[NBest]:
        """Answer one window: split the inputs, decode this rank's share of the pieces, join the answers."""
        requests = [value if isinstance(value, Request) else Request(input=value) for value in values]
        inputs = [self._split(index, request) for index, request in enumerate(requests)]
        pieces = [piece for split in inputs for piece in split.pieces]
        longest_first = sorted(range(len(pieces)), key=lambda i: -pieces[i].length)
        indices = longest_first[self.world.rank :: self.world.size]
        rank_pieces = [pieces[i] for i in indices]
        nbests: list[NBest] = []
        with stop_together(self.world), inference_mode(self.model, self.device, self.precision):
            candidates = self._decoder.decode(rank_pieces, self.search, self.num_answers)
            nbests = self._decoder.nbest(rank_pieces, self.search, candidates, self.num_answers)
        own = list(zip(indices, nbests, strict=True))
        gathered = [own] if self.world.size == 1 else self.world.all_gather(own)
        nbest_of_piece = {i: nbest for rank_nbests in gathered for i, nbest in rank_nbests}
        answers: list[list[NBest]] = [[] for _ in values]
        for i, piece in enumerate(pieces):
            answers[piece.index].append(nbest_of_piece[i])
        return [self._join(split, nbests) for split, nbests in zip(inputs, answers, strict=True)]

    def _split(self, index: int, request: Request) -> SplitInput:
        try:
            return split_input(
                self.task, request, index, max_length=self.max_length, model_limit=longest_source(self.model)
            )
        except TooLongError as error:
            if not self.lenient:
                raise InputError(str(error), index) from error
            return SplitInput(too_long=True)
        except UserError as error:
            raise InputError(str(error), index) from error

    def _join(self, split: SplitInput, answers: Sequence[NBest]) -> NBest:
        joined = join_pieces(self.task, answers)
        return NBest(joined, [*split.warnings(self.max_length), *joined.warnings], joined.traces)

    def _scorable(self, examples: Sequence[Example]) -> list[int]:
        """Return the indices of the examples that can be scored in one forward pass."""
        if not examples:
            return []
        lengths = {
            name: np.array([len(example.columns[name]) for example in examples])
            for name in examples[0].columns
        }
        source, target = lengths["source"], lengths["target"]
        longest_target = np.full(len(examples), self.max_length)
        if self.search is not None:
            longest_output = self.search.max_lengths(torch.from_numpy(source)).numpy() + 1
            longest_target = np.maximum(longest_target, longest_output)
        scorable = (source <= self.max_length) & (target <= longest_target)
        if self.model.limit is not None:
            scorable &= self.model.positions_used(lengths) <= self.model.limit
        indices: list[int] = scorable.nonzero()[0].tolist()
        return indices

    def symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        """Return a readable form of each token of a column; BOS is <s> and EOS is </s>."""
        special = {BOS: "<s>", EOS: "</s>"}
        return [special.get(token) or self.task.symbols(column, [token])[0] for token in ids]


@contextmanager
def inference_mode(model: Model, device: torch.device, precision: ComputePrecision) -> Iterator[None]:
    """Run the block with a model in evaluation mode, without gradients, and in the given precision.

    This does not use `torch.inference_mode`, in which autocast converts every weight again for every token.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), autocast(device, precision):
            yield
    finally:
        model.train(training)


@contextmanager
def stop_together(world: World) -> Iterator[None]:
    """Raise `Stopped` or `NotFiniteError` on all ranks after the block if any rank raised it in the block.

    All ranks must run the block equally often, because they exchange these errors after each block.
    """
    if world.size == 1:
        yield
        return
    received: signal.Signals | None = None
    problem: str | None = None
    try:
        yield
    except Stopped as stopped:
        received = stopped.signal
    except NotFiniteError as error:
        problem = str(error)
    signals, problems = zip(*world.all_gather((received, problem)), strict=True)
    for received_by_rank in filter(None, signals):
        raise Stopped(received_by_rank)
    for problem_of_rank in filter(None, problems):
        raise NotFiniteError(problem_of_rank)
