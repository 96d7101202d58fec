"""A model that answers raw text: split inputs, decode the pieces in batches, join the answers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal

import torch

from seqx.errors import UserError
from seqx.inference.attention_maps import AttentionMaps, attention_maps
from seqx.inference.batching import BATCH_TOKENS, pad, source_tokens
from seqx.inference.context import inference_mode, stop_together
from seqx.inference.decoding import BatchDecoder
from seqx.inference.pieces import (
    DEFAULT_MAX_LENGTH,
    InputError,
    SplitInput,
    TooLongError,
    join_pieces,
    split_input,
)
from seqx.inference.scoring import logprobs
from seqx.interfaces.learning import Search
from seqx.interfaces.nbest import NBest
from seqx.interfaces.networks import Model
from seqx.interfaces.text import Task
from seqx.interfaces.values import BOS, EOS, Example, Request, Tokens
from seqx.parallel import SINGLE_PROCESS, World


class Predictor:
    """A task, a model and a search that answer texts in their order.

    The answers to an input have different texts: of several hypotheses with the same text only the best is
    kept. If fewer than `Search.num_answers` remain, the input is decoded again with `Search.wider`.

    An empty input has an empty answer, and the model is not called. The task splits an input of more than
    `max_length` tokens. The answer to such an input is the best answers to its pieces, joined by the task;
    its score and its log-probability are their sums.

    An input may be a `Request` with constraints: the answer begins with a prefix, and contains some phrases
    but not others. If no output within the search's length limit meets them, there is no answer. Of an input
    that is split, the first piece gets the prefix and the required phrases, and all get the forbidden ones.

    Args:
        task: tokenizes inputs, and turns outputs into text
        model: the model; it is on `device`
        search: decodes
        device: the device that computes
        precision: bf16: matrix products are computed in bfloat16
        batch_tokens: maximum padded tokens of a batch: for each hypothesis its source and its longest output.
            The default depends on the type of the device.
        before_batch: called before each batch; an exception that it raises ends the work
        world: the ranks that answer together. Each gets the same inputs, and returns all answers.
        lenient: give an empty answer, with a warning, to an input that is too long and cannot be split; else
            such an input is an `InputError`

    Raises:
        UserError: batch_tokens is not positive
    """

    window = 2048
    """Inputs that are read before the first is answered. Sorted by length, they make batches with little
    padding."""

    def __init__(
        self,
        task: Task,
        model: Model,
        search: Search,
        *,
        device: torch.device,
        precision: Literal["bf16", "fp32"] = "fp32",
        batch_tokens: int | None = None,
        before_batch: Callable[[], None] = lambda: None,
        world: World = SINGLE_PROCESS,
        lenient: bool = False,
    ) -> None:
        if batch_tokens is not None and batch_tokens < 1:
            raise UserError(f"batch_tokens is {batch_tokens}; it must be at least 1")
        self.task = task
        self.model = model
        self.search = search
        self.device = device
        self.precision: Literal["bf16", "fp32"] = precision
        self.before_batch = before_batch
        self.world = world
        self.lenient = lenient
        self._decoder = BatchDecoder(
            task,
            model,
            device=device,
            batch_tokens=batch_tokens or BATCH_TOKENS[device.type],
            before_batch=before_batch,
        )

    @property
    def max_length(self) -> int:
        """The maximum tokens of an input, EOS included, that is answered in one piece."""
        limits = [limit for limit in (self.task.max_length, self.model.limit) if limit is not None]
        return min(limits, default=DEFAULT_MAX_LENGTH)

    def __call__(self, texts: Iterable[str | Request]) -> list[str]:
        """Return the best answer to each text, in the order of the texts; "" if there is none.

        Raises:
            InputError: a text cannot be answered
        """
        answers = list(self.hypotheses(texts))
        return [nbest.text for nbest in answers]

    def hypotheses(self, texts: Iterable[str | Request], window: int | None = None) -> Iterator[NBest]:
        """Yield the n-best list of each text, in the order of the texts.

        Args:
            texts: the inputs
            window: how many of them are read before the first is answered; None: `Predictor.window`

        Raises:
            InputError: a text cannot be answered; the answers to those before it were yielded
            UserError: `texts` is a single string
        """
        if isinstance(texts, str | bytes):
            raise UserError("a model answers several texts: give a list of strings, [text] for one")
        inputs = iter(texts)
        while lines := list(islice(inputs, window or self.window * self.world.size)):
            try:
                answers = self._answer(lines)
            except InputError as error:
                if self.world.size > 1:  # other ranks may have answered all of their inputs
                    raise
                for line in lines[: error.index]:
                    yield from self._answer([line])
                raise
            yield from answers

    def logprobs(self, examples: Sequence[Example]) -> list[float | None]:
        """Return the natural log-probability of each example's target, given its source.

        None: the example is too long to be scored in one forward pass. A target may be as long as the longest
        input, or as the longest output of the search.

        Raises:
            UserError: the device has too little memory for a single example
        """
        short = [i for i, example in enumerate(examples) if self._can_score(example)]
        own = short[self.world.rank :: self.world.size]
        columns = [examples[i].columns for i in own]
        values: list[float] = []
        with stop_together(self.world), inference_mode(self.model, self.device, self.precision):
            values = logprobs(self.model, columns, device=self.device, before_batch=self.before_batch)
        result: list[float | None] = [None] * len(examples)
        for scored in self.world.all_gather(list(zip(own, values, strict=True))):
            for i, value in scored:
                result[i] = value
        return result

    def attention(self, text: str, ids: Sequence[int]) -> AttentionMaps | None:
        """Return the attention weights while the model reads `text` and writes `ids`, which has no EOS.

        None: the text is empty, or longer than `max_length`.
        """
        pieces = self._split(0, Request(text=text)).pieces
        if len(pieces) != 1 or pieces[0].text != text or pieces[0].length > self.max_length:
            return None
        target = [*ids, EOS]
        with inference_mode(self.model, self.device, self.precision):
            written = Tokens.of(pad([target]), torch.tensor([len(target)])).to(self.device)
            maps = attention_maps(self.model, source_tokens(pieces).to(self.device), written)
        source = self._symbols("source", pieces[0].columns["source"])
        return AttentionMaps(source, self._symbols("target", target), maps)

    def _answer(self, lines: Sequence[str | Request]) -> list[NBest]:
        """Answer one window: split the inputs, decode this rank's share of the pieces, join the answers."""
        requests = [line if isinstance(line, Request) else Request(text=line) for line in lines]
        inputs = [self._split(index, request) for index, request in enumerate(requests)]
        pieces = [piece for one in inputs for piece in one.pieces]
        longest_first = sorted(range(len(pieces)), key=lambda i: -pieces[i].length)
        indices = longest_first[self.world.rank :: self.world.size]
        own = [pieces[i] for i in indices]
        nbests: list[NBest] = []
        with stop_together(self.world), inference_mode(self.model, self.device, self.precision):
            candidates = self._decoder.decode(own, self.search)
            nbests = self._decoder.nbest(own, self.search, candidates)
        answers: list[list[NBest]] = [[] for _ in lines]
        gathered = self.world.all_gather(list(zip(indices, nbests, strict=True)))
        for i, nbest in sorted((pair for share in gathered for pair in share), key=lambda pair: pair[0]):
            answers[pieces[i].index].append(nbest)
        return [self._join(one, found) for one, found in zip(inputs, answers, strict=True)]

    def _split(self, index: int, request: Request) -> SplitInput:
        try:
            return split_input(
                self.task, request, index, max_length=self.max_length, model_limit=self.model.limit
            )
        except TooLongError as error:
            if not self.lenient:
                raise InputError(str(error), index) from error
            return SplitInput(too_long=True)
        except UserError as error:
            raise InputError(str(error), index) from error

    def _join(self, source: SplitInput, answers: Sequence[NBest]) -> NBest:
        joined = join_pieces(self.task, answers)
        return NBest(joined, [*source.warnings(self.max_length), *joined.warnings])

    def _can_score(self, example: Example) -> bool:
        source, target = (len(example.columns[name]) for name in ("source", "target"))
        longest_target = max(self.max_length, int(self.search.max_lengths(torch.tensor([source]))) + 1)
        limit = self.model.limit
        if limit is not None and self.model.positions_used(source, target) > limit:
            return False
        return source <= self.max_length and target <= longest_target

    def _symbols(self, column: str, ids: Sequence[int]) -> list[str]:
        special = {BOS: "<s>", EOS: "</s>"}
        return [special.get(token) or self.task.symbols(column, [token])[0] for token in ids]
