"""The engine `ctranslate2`: searches that CTranslate2 computes.

Letters in shapes: B sentences, S source tokens.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

import seqx
from seqx_transformer.export import common
from seqx_transformer.export.ctranslate2 import MAX_POSITIONS, CTranslate2

PATIENCE = 2
"""The number of finished hypotheses after which CTranslate2 stops, divided by the beam size."""

_NO_PENALTY = 1e-30  # CTranslate2 would stop at the first finished hypothesis if it were 0


class CTranslate2Engine(seqx.Engine):
    """An engine in which CTranslate2 computes the search of the recipe.

    In float32, greedy search and beam search with `alpha: 0` and `nbest: 1` have the same answers as in seqx.
    With a length penalty or more answers, CTranslate2 stops when 2 * size hypotheses are finished, and seqx
    when no hypothesis can become better than the finished ones, so a few answers may differ.

    seqx itself answers inputs with constraints, inputs whose answers reach the length limit or could exceed
    the positions of the model, and all inputs if traces are recorded. Only greedy search and beam search
    without score processors are supported.

    Args:
        compute: number format of the computation; int8 changes some answers
    """

    def __init__(
        self, *, compute: Literal["float32", "int8", "int8_bfloat16", "int16", "bfloat16"] = "float32"
    ) -> None:
        self.compute = compute

    def problems(self, model: seqx.TrainedModel) -> Iterable[str]:
        """Yield the settings of the model and of the search that CTranslate2 cannot express."""
        yield from CTranslate2().problems(model)
        assert model.search is not None, "the command has checked it"
        try:
            search = seqx.describe(model.search)
            if search.stop != "bound":
                yield "search.stop: CTranslate2 has another rule; set search.stop=bound, or no engine"
            if search.changes_scores:
                yield (
                    "search.processors: CTranslate2 does not have them, nor search.forced_eos; set "
                    "processors=[] and forced_eos=false, or leave out the engine"
                )
        except seqx.UnspecifiedError as error:
            yield f"search: CTranslate2 does not have {error.name}; set search=beam, or leave out the engine"

    def identity(self) -> Mapping[str, object]:
        """Return the version of CTranslate2."""
        return {"ctranslate2": version("ctranslate2")}

    def write(self, model: seqx.TrainedModel, folder: Path) -> None:
        """Write the model in fp32. CTranslate2 converts it to other number formats when it loads it."""
        CTranslate2().write(model, folder)

    def search(self, model: seqx.TrainedModel, folder: Path) -> seqx.Search:
        """Return the search of the model, computed by CTranslate2."""
        assert model.search is not None, "the command has checked it"
        program = Program(folder, seqx.describe(model.model), seqx.describe(model.task), self.compute)
        return CTranslate2Search(program, model.search)


class CTranslate2Search(seqx.Search):
    """A greedy or beam search that CTranslate2 computes, with the ranking of seqx.

    CTranslate2 extends the same hypotheses as seqx. Without a length penalty, both return the same best
    answer. With one, or for several answers, seqx stops when no hypothesis can become better than the
    finished ones, and CTranslate2 when `PATIENCE * size` hypotheses are finished.

    Args:
        program: returns the hypotheses of sources
        original: the search of seqx
    """

    def __init__(self, program: "Program", original: seqx.Search) -> None:
        self._program = program
        self._original = original
        self._spec = seqx.describe(original)

    @property
    def width(self) -> int:
        """The number of hypotheses of a sentence that the search extends at once."""
        return self._original.width

    @property
    def num_answers(self) -> int:
        """The number of different answers to a sentence that the search should return."""
        return self._original.num_answers

    def wider(self) -> Self | None:
        """Return the same search with a larger beam; None if there is none."""
        wider = self._original.wider()
        return None if wider is None else type(self)(self._program, wider)

    def with_answers(self, number: int) -> Self:
        """Return the same search for another number of answers."""
        return type(self)(self._program, self._original.with_answers(number))

    def max_lengths(self, lengths: Tensor) -> Tensor:
        """Return the maximum output tokens [B] for sources of `lengths` [B] tokens, both without EOS."""
        return self._original.max_lengths(lengths)

    def __call__(
        self,
        model: seqx.Generator,
        source: seqx.Column,
        max_lengths: Tensor,
        grammar: seqx.Grammar | None = None,
        memory: seqx.State | None = None,
        trace: seqx.SearchTrace | None = None,
    ) -> Sequence[Sequence[seqx.Hypothesis]]:
        """Return the hypotheses of each sentence, best first."""
        if grammar is not None or trace is not None:
            return self._original(model, source, max_lengths, grammar, memory, trace)
        limits, lengths = max_lengths.tolist(), source.layout.keep.sum(1).tolist()
        limit = max(limits) + 1
        short = [i for i, length in enumerate(lengths) if self._program.has_positions(length, limit)]
        ids = [row[:length] for row, length in zip(source.values.tolist(), lengths, strict=True)]
        found = self._program([ids[i] for i in short], self._options(limit))
        hypotheses: list[list[seqx.Hypothesis]] = [[] for _ in limits]
        for i, result in zip(short, found, strict=True):
            hypotheses[i] = self._ranked(*result, limits[i])
        missing = [i for i, best in enumerate(hypotheses) if len(best) < self._spec.nbest]
        if missing:  # for example, hypotheses reached the length limit, at which seqx enforces EOS
            part = seqx.Column.of(source.values[missing], source.layout.keep[missing].sum(1))
            for i, best in zip(missing, self._original(model, part, max_lengths[missing]), strict=True):
                hypotheses[i] = [*best]
        return hypotheses

    def _options(self, limit: int) -> dict[str, Any]:
        """Return the options of CTranslate2 for outputs of at most `limit` tokens, EOS included."""
        spec = self._spec
        is_exact = spec.size == 1 or (spec.alpha == 0 and spec.nbest == 1)
        return {
            "beam_size": spec.size,
            "length_penalty": 0 if is_exact else spec.alpha or _NO_PENALTY,
            "patience": 1 if is_exact else PATIENCE,
            "num_hypotheses": 1 if is_exact else spec.size * PATIENCE,
            "limit": limit,
        }

    def _ranked(self, symbols: list[list[str]], scores: list[float], limit: int) -> list[seqx.Hypothesis]:
        """Return the best finished hypotheses of a sentence, ranked as seqx does."""
        found = []
        for tokens, score in zip(symbols, scores, strict=True):
            ids = [self._program.ids[token] for token in tokens]
            if ids[-1:] != [seqx.EOS] or len(ids) > limit + 1 or min(ids) < seqx.EOS:
                continue  # the hypothesis has no EOS, is too long, or has PAD or BOS, which seqx never writes
            logprob = score * len(tokens) ** (0 if self._spec.size == 1 else self._spec.alpha)
            length = len(tokens) if self._spec.penalty == "length" else (5 + len(tokens)) / 6
            rank = logprob / length**self._spec.alpha
            found.append(seqx.Hypothesis(ids=ids[:-1], score=rank, logprob=logprob))
        return sorted(found, key=lambda each: -each.score)[: self._spec.nbest]


class Program:
    """A model that CTranslate2 has loaded.

    Args:
        folder: the exported model
        model: the description of the model
        text: the vocabulary of the model
        compute: number format of the computation
    """

    def __init__(self, folder: Path, model: seqx.ModelSpec, text: seqx.TextSpec, compute: str) -> None:
        package = seqx.import_extra("ctranslate2", "ctranslate2")
        self._has_encoder = model.encoder is not None
        program = package.Translator if self._has_encoder else package.Generator
        self._program = program(str(folder), compute_type=compute, intra_threads=torch.get_num_threads())
        self._source = text.source.symbols
        # CTranslate2 itself appends EOS to the source.
        self._end = -1 if self._has_encoder and common.EOS in text.source_ends else None
        self.ids = {symbol: i for i, symbol in enumerate(text.target.symbols)}
        self._positions = min(stack.limit or MAX_POSITIONS for stack in common.stacks(model).values())

    def has_positions(self, length: int, limit: int) -> bool:
        """Return true if there are positions for a source of `length` tokens and `limit` tokens after it.

        Without an encoder, source and target are one sequence, whose last token is not read.
        """
        return (max(length, limit) if self._has_encoder else length + limit - 1) <= self._positions

    def __call__(
        self, sources: Sequence[Sequence[int]], options: dict[str, Any]
    ) -> list[tuple[list[list[str]], list[float]]]:
        """Return the symbols and the scores of the hypotheses of each source."""
        tokens = [[self._source[i] for i in row[: self._end]] for row in sources]
        limit = options.pop("limit")
        options |= {"return_scores": True, "return_end_token": True}
        if self._has_encoder:
            results = self._program.translate_batch(
                tokens, max_input_length=0, max_decoding_length=limit, min_decoding_length=0, **options
            )
            return [(result.hypotheses, result.scores) for result in results]
        results = self._program.generate_batch(
            tokens, max_length=limit, min_length=0, include_prompt_in_result=False, **options
        )
        return [(result.sequences, result.scores) for result in results]
