"""A model that answers raw text."""

import math
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, TypeVar, cast

import torch

from seqx.constraints import Intersection
from seqx.errors import UserError
from seqx.inference.answers import Answers, distinct, summed
from seqx.inference.attention_maps import AttentionMaps, attention_maps
from seqx.inference.out_of_memory import Fitting
from seqx.inference.scoring import logprobs
from seqx.interfaces.learning import Grammar, Search
from seqx.interfaces.networks import Model
from seqx.interfaces.scores import perplexity
from seqx.interfaces.text import Task
from seqx.interfaces.values import BOS, EOS, PAD, WORDS, Example, Hypothesis, Request, Tokens
from seqx.parallel import SINGLE_PROCESS, World
from seqx.runtime.devices import autocast
from seqx.runtime.signals import Stopped

_Found = tuple[Sequence[Sequence[Hypothesis]], Mapping[str, list[list[int]]]]
"""The hypotheses of each piece of a batch, and for each column the likeliest label of each token."""

LONGEST = 1024
"""Tokens of a piece where neither the task nor the model says what is too long: attention is quadratic."""

T = TypeVar("T")

_WIDENINGS = 3
"""The most times that a beam is doubled because several of its hypotheses have the same text."""

BATCH_TOKENS = {"cpu": 32_768, "cuda": 524_288}


@dataclass(frozen=True)
class _Piece:
    """An input, or a part of one that was too long; `line` is its place in the window."""

    line: int
    request: Request
    columns: Mapping[str, list[int]]

    @property
    def text(self) -> str:
        return self.request.text

    @property
    def length(self) -> int:
        return len(self.columns["source"])


class TooLongError(UserError):
    """An input that has more tokens than the model can read."""


class RefusedError(UserError):
    """An input that cannot be answered.

    Args:
        said: the message
        line: the input's number among those that were read together, from 0
    """

    def __init__(self, said: str, line: int) -> None:
        super().__init__(said)
        self.line = line


class Predictor:
    """A task, a model and a search as one: it answers texts in their order.

    The answers to an input have different texts: of hypotheses with the same text only the best is kept. If
    fewer than `Search.num_answers` are left, the input is searched again with `Search.wider`.

    An empty input has an empty answer, and the model is not asked. An input over the limit (the shortest of
    the task's and the model's) is split by the task; of each piece only the best answer is kept, and they are
    joined into one, whose score and log-probability are the sums of theirs. `split` counts such inputs.

    An input may be a `Request`, whose answer begins with a prefix, has some phrases and lacks others. Where
    no answer within the search's limit does, there is none: nothing else is given for it. Of an input that is
    split the first part has the prefix and the required phrases, and none has a forbidden one.

    Args:
        device: where the model is
        precision: bf16: matrix products are computed in bfloat16
        batch_tokens: places of a batch: for each hypothesis those of the source and of the longest output
        between: called before each batch; what it raises ends the work there
        world: the processes that answer together; each is asked for the same, and gets all answers
        lenient: give an empty answer to an input that is too long, and count it, instead of raising an error
    """

    window = 2048
    """Inputs that are read before the first of them is answered; sorted by length, they make full batches."""

    def __init__(
        self,
        task: Task,
        model: Model,
        search: Search,
        *,
        device: torch.device,
        precision: Literal["bf16", "fp32"] = "fp32",
        batch_tokens: int | None = None,
        between: Callable[[], None] = lambda: None,
        world: World = SINGLE_PROCESS,
        lenient: bool = False,
    ) -> None:
        self.task = task
        self.model = model
        self.search = search
        self.device = device
        self.precision: Literal["bf16", "fp32"] = precision
        if batch_tokens is not None and batch_tokens < 1:
            raise UserError(f"batch_tokens is {batch_tokens}; a batch needs a place at least")
        self.batch_tokens = batch_tokens or BATCH_TOKENS[device.type]
        self.between = between
        self.split = 0
        self.lenient = lenient
        self._refused = 0  # inputs that are too long to be answered
        self._unscored = 0  # examples whose target is too long to be scored
        self._fit = Fitting(device)
        self.world = world

    def __call__(self, texts: Iterable[str | Request]) -> list[str]:
        """The best answer to each text, in the order of the texts."""
        return self.counted(texts)[0]

    def counted(self, texts: Iterable[str | Request]) -> tuple[list[str], Mapping[str, int]]:
        """Return the best answer to each text, and the sums of all `counts` over all processes."""
        every = list(self.hypotheses(texts))
        return [answers[0][0] if answers else "" for answers in every], summed(every)

    def hypotheses(self, texts: Iterable[str | Request], window: int | None = None) -> Iterator[Answers]:
        """The answers to each text, in the order of the texts, of which `window` are read at a time.

        Raises:
            RefusedError: for a text that the task cannot make short enough for the model, or that is no text;
                those before it were answered
            UserError: what is given are no texts
        """
        if isinstance(texts, str | bytes):
            raise UserError("a model answers several texts: give a list of strings, [text] for one")
        texts = iter(texts)
        while lines := list(islice(texts, window or self.window * self.world.size)):
            yield from self._before_refusal(lines)

    def logprobs(self, examples: Sequence[Example]) -> list[float]:
        """The natural log-probability of each example's whole target, given its other columns.

        Raises:
            UserError: an example is too long
        """
        for example in examples:
            if not self.fits(example):
                lengths = " and ".join(
                    f"{len(example.columns[name])} tokens of {name}" for name in ("source", "target")
                )
                raise UserError(
                    f"an example of {lengths} is too long: at most {self.longest} can be scored at once; "
                    "let the task make its examples shorter"
                )
        rank, size = self.world.rank, self.world.size
        own = [example.columns for example in examples[rank::size]]
        found = self._shared(
            lambda: logprobs(
                self.model, own, device=self.device, precision=self.precision, between=self.between
            )
        )
        return [found[i % size][i // size] for i in range(len(examples))]

    def perplexity(self, split: str) -> float | None:
        """The exponential of the mean negative log-probability of a target token; None: there is none.

        EOS counts as a token. Examples that are too long are left out, and counted. Compare it only between
        models with the same vocabulary.
        """
        examples = (self.task.example(row, training=False) for row in self.task.rows(split))
        found = [each for each in examples if isinstance(each, Example)]
        kept = [each for each in found if self.fits(each)]
        count = sum(len(example.columns["target"]) for example in kept)
        return perplexity(-math.fsum(self.logprobs(kept)) / count) if count else None

    def fits(self, example: Example) -> bool:
        """Return true if an example can be scored in one forward pass; count it if it is too long.

        A target may be as long as the longest input, or as the longest answer of the search.
        """
        source, target = (len(example.columns[name]) for name in ("source", "target"))
        most = max(self.longest, int(self.search.max_lengths(torch.tensor([source]))) + 1)
        limit = self.model.limit
        fitting = source <= self.longest and target <= most
        fitting = fitting and (limit is None or self.model.positions_used(source, target) <= limit)
        self._unscored += not fitting
        return fitting

    def left_out(self, split: str) -> Iterator[str]:
        """Yield a line for each kind of examples and inputs of a split that were too long."""
        most = f"of more than {self.longest} tokens"
        if self._unscored:
            yield f"{split}: examples {most}: {self._unscored:,}; the perplexity leaves them out"
        if self.split:
            yield f"{split}: inputs {most}: {self.split:,}; they were answered in parts"
        if self._refused:
            what = f"inputs {most} that cannot be split"
            yield f"{split}: {what}: {self._refused:,}; their answers are empty"

    @property
    def longest(self) -> int:
        """The most tokens, EOS counted, of an input that is answered in one piece."""
        limits = [limit for limit in (self.task.longest, self.model.limit) if limit is not None]
        return min(limits, default=LONGEST)

    def attention(self, text: str, ids: Sequence[int]) -> AttentionMaps | None:
        """Where each attention looks while the model reads `text` and writes `ids`, without EOS.

        None for a text that is answered in parts, has nothing to read, or is longer than the task allows.
        """
        pieces = self._pieces(0, Request(text=text))
        if len(pieces) != 1 or pieces[0].text != text or pieces[0].length > self.longest:
            return None
        source, target = pieces[0].columns["source"], [*ids, EOS]
        with torch.no_grad(), autocast(self.device, self.precision):
            written = Tokens.of(_padded([target]), torch.tensor([len(target)])).to(self.device)
            found = attention_maps(self.model, _source(pieces).to(self.device), written)
        return AttentionMaps(self._named("source", source), self._named("target", target), found)

    def _named(self, column: str, ids: Sequence[int]) -> list[str]:
        special = {BOS: "<s>", EOS: "</s>"}
        return [special.get(token) or self.task.symbols(column, [token])[0] for token in ids]

    def _before_refusal(self, lines: Sequence[str | Request]) -> Iterator[Answers]:
        """The answers to lines, up to the first that cannot be answered."""
        split = self.split
        try:
            found = self._window(lines)
        except RefusedError as refused:
            self.split = split
            if self.world.size > 1:  # others may have answered all
                raise
            for line in lines[: refused.line]:
                yield from self._window([line])
            raise
        yield from found

    def _window(self, lines: Sequence[str | Request]) -> list[Answers]:
        requests = [line if isinstance(line, Request) else Request(text=line) for line in lines]
        pieces = list[_Piece]()
        for line, request in enumerate(requests):
            try:
                pieces += self._pieces(line, request)
            except TooLongError as error:
                if not self.lenient:
                    raise RefusedError(str(error), line) from error
                self._refused += 1
            except UserError as error:
                raise RefusedError(str(error), line) from error
        found: dict[int, list[Answers]] = {}
        for piece, answers in zip(pieces, self._search(pieces), strict=True):
            found.setdefault(piece.line, []).append(answers)
        return [self._join(found.get(line, [])) for line in range(len(lines))]

    def _pieces(self, line: int, request: Request) -> list[_Piece]:
        text = request.text
        for part in (text, request.prefix, *request.require, *request.forbid):
            _check_text(part)
        if not text.strip():
            return []
        whole = _Piece(line, request, self.task.read(text))
        if whole.length <= self.longest:
            return [whole] if _says_something(whole) else []
        parts = self.task.split_long_input(text, self.longest)
        asked = [replace(request, text=parts[0])]
        asked += [Request(text=part, forbid=request.forbid) for part in parts[1:]]
        pieces = (
            [_Piece(line, part, self.task.read(part.text)) for part in asked] if len(parts) > 1 else [whole]
        )
        self.split += len(parts) > 1
        most, limit = max(piece.length for piece in pieces), self.model.limit
        if limit is None:  # the task may answer an input whole that is longer than those it was trained on
            limit = max(self.longest, 4 * LONGEST)
        if most > limit:
            raise TooLongError(
                f"an input of {most} tokens, of which the model reads at most {limit}: make it shorter; "
                f"it begins {text[:40]!r}"
            )
        return [piece for piece in pieces if _says_something(piece)]

    def _join(self, found: Sequence[Answers]) -> Answers:
        if len(found) <= 1:
            return found[0] if found else Answers()
        if not all(found):
            return Answers(counts=summed(found))
        best = [answers[0] for answers in found]
        whole = Hypothesis(
            ids=[token for _, hypothesis in best for token in hypothesis.ids],
            score=math.fsum(hypothesis.score for _, hypothesis in best),
            logprob=math.fsum(hypothesis.logprob for _, hypothesis in best),
        )
        return Answers([(self.task.join([text for text, _ in best]), whole)], summed(found))

    def _search(self, pieces: Sequence[_Piece]) -> list[Answers]:
        """The answers to pieces, in their order."""
        answers = [Answers() for _ in pieces]
        for found in self._shared(lambda: self._share(pieces)):
            for i, those in found.items():
                answers[i] = those
        return answers

    def _shared(self, work: Callable[[], T]) -> list[T]:
        """What each process makes of its share; where one is stopped, all are."""
        mine: T | None = None
        by: signal.Signals | None = None
        try:
            mine = work()
        except Stopped as stopped:
            if self.world.size == 1:
                raise
            by = stopped.signal
        every = self.world.all_gather((mine, by))
        for _, stopped_by in every:
            if stopped_by is not None:
                raise Stopped(stopped_by)
        return [cast("T", found) for found, _ in every]

    def _share(self, pieces: Sequence[_Piece]) -> dict[int, Answers]:
        """Return the answers to this process's pieces, by the index of the piece."""
        ordered = sorted(range(len(pieces)), key=lambda i: -pieces[i].length)
        mine = ordered[self.world.rank :: self.world.size]
        training = self.model.training
        self.model.eval()
        try:
            return dict(zip(mine, self._different([pieces[i] for i in mine]), strict=True))
        finally:
            self.model.train(training)

    def _different(self, pieces: Sequence[_Piece]) -> list[Answers]:
        """Return up to `Search.num_answers` answers with different texts to each piece.

        Different hypotheses can have the same text. A piece with too few texts is searched again with a wider
        search, until it has enough or the search finds no more.
        """
        search = self.search
        wanted = search.num_answers
        found = self._hypotheses(pieces, search)
        kept = list(map(distinct, found))
        for _ in range(_WIDENINGS):
            short = [
                i for i, all_ in enumerate(found) if len(kept[i]) < wanted and len(all_) >= search.num_answers
            ]
            wider = search.wider() if short else None
            if wider is None:
                break
            search = wider
            try:
                again = self._hypotheses([pieces[i] for i in short], search)
            except RefusedError:  # out of memory with so many hypotheses
                break
            for i, more in zip(short, again, strict=True):
                best = sorted([*kept[i], *more], key=lambda answer: -answer[1].score)
                kept[i], found[i] = distinct(best)[:wanted], more
        return [
            Answers(those, self.task.counts(piece.text, [hypothesis.ids for _, hypothesis in those]))
            for piece, those in zip(pieces, kept, strict=True)
        ]

    def _hypotheses(self, pieces: Sequence[_Piece], search: Search) -> list[list[tuple[str, Hypothesis]]]:
        """Return all hypotheses of a search for each piece with their texts, best first."""
        limits = self._limits(pieces, search)
        answers: list[list[tuple[str, Hypothesis]]] = [[] for _ in pieces]
        for batch in self._batches(pieces, limits, search):
            self.between()
            for part, (found, labels) in self._fitting(batch, pieces, limits, search):
                for row, (i, hypotheses) in enumerate(zip(part, found, strict=True)):
                    piece = pieces[i]
                    said = {column: ids[row][: piece.length] for column, ids in labels.items()}
                    answers[i] = [(self.task.write(h.ids, piece.text, said), h) for h in hypotheses]
        return answers

    def _limits(self, pieces: Sequence[_Piece], search: Search) -> list[int]:
        """The longest output to each piece, EOS not counted; one of the model's places is for EOS."""
        lengths = [piece.length - (piece.columns["source"][-1:] == [EOS]) for piece in pieces]
        limits = search.max_lengths(torch.tensor(lengths, dtype=torch.int64))
        if self.model.limit is not None:
            taken = [piece.length if self.model.single_sequence else 1 for piece in pieces]
            limits = limits.minimum(self.model.limit - torch.tensor(taken)).clamp_min(0)
        return limits.tolist()

    def _batches(
        self, pieces: Sequence[_Piece], limits: Sequence[int], search: Search
    ) -> Iterator[list[int]]:
        """Yield the indices of the pieces of each batch, longest pieces first."""
        batch: list[int] = []
        longest = 0
        for i in sorted(range(len(pieces)), key=lambda i: -pieces[i].length):
            places = pieces[i].length + limits[i] + 1
            wider = max(longest, places)
            if batch and wider * (len(batch) + 1) * search.width > self.batch_tokens:
                yield batch
                batch, wider = [], places
            batch.append(i)
            longest = wider
        if batch:
            yield batch

    def _fitting(
        self, batch: Sequence[int], pieces: Sequence[_Piece], limits: Sequence[int], search: Search
    ) -> Iterator[tuple[Sequence[int], _Found]]:
        """Parts of a batch of pieces, all of it where memory is not short, and what is found for them."""

        def work(part: Sequence[int]) -> _Found:
            return self._batch([pieces[i] for i in part], [limits[i] for i in part], search)

        try:
            yield from self._fit(batch, work)
        except torch.OutOfMemoryError:
            longest = max((pieces[i] for i in batch), key=lambda piece: piece.length)
            raise RefusedError(
                f"{self.device} has too little memory for a single input, of up to {longest.length} tokens; "
                "take a smaller search.size, or make it shorter (the task's setting `longest`, where it has "
                f"one); it begins {longest.text[:40]!r}",
                longest.line,
            ) from None

    def _batch(self, pieces: Sequence[_Piece], limits: Sequence[int], search: Search) -> _Found:
        """The hypotheses of each piece, and for each column the likeliest label of each of its tokens."""
        # Not inference_mode: in it, autocast converts every weight again for every token.
        with torch.no_grad(), autocast(self.device, self.precision):
            source = _source(pieces).to(self.device)
            try:
                found = search(self.model, source, torch.tensor(limits), self._grammar(pieces))
            except UserError as error:
                raise self._refused_request(pieces, limits) or error from None
            labels = self.model.labels(self.model.encode(source)) if self.model.has_token_labels else {}
            return found, {name: column.argmax(-1).tolist() for name, column in labels.items()}

    def _refused_request(self, pieces: Sequence[_Piece], limits: Sequence[int]) -> RefusedError | None:
        """Find the first input of which something is asked that cannot be asked for."""
        for piece, limit in sorted(zip(pieces, limits, strict=True), key=lambda pair: pair[0].line):
            if piece.request.constrained:
                try:
                    self.task.constraint([piece.request]).start(1, torch.tensor([limit]))
                except UserError as error:
                    return RefusedError(str(error), piece.line)
        return None

    def _grammar(self, pieces: Sequence[_Piece]) -> Grammar | None:
        """What the task lets be written, and of it what is asked for."""
        grammar = self.task.grammar([piece.columns for piece in pieces])
        requests = [piece.request for piece in pieces]
        if not any(request.constrained for request in requests):
            return grammar
        asked = self.task.constraint(requests)
        return asked if grammar is None else Intersection(grammar, asked)


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise UserError(f"a model answers strings, not {type(text).__name__}: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{text[:40]!r} holds half a character (a surrogate), at {error.start}; mend it"
        ) from None


def _source(pieces: Sequence[_Piece]) -> Tokens:
    lengths = torch.tensor([piece.length for piece in pieces])
    starts = _padded([piece.columns[WORDS] for piece in pieces]) if WORDS in pieces[0].columns else None
    return Tokens.of(_padded([piece.columns["source"] for piece in pieces]), lengths, starts)


def _padded(rows: Sequence[list[int]]) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])


def _says_something(piece: _Piece) -> bool:
    return any(token != EOS for token in piece.columns["source"])
