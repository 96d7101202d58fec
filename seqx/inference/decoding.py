"""Decodes pieces of inputs in batches, until each has enough answers with different texts."""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from seqx.constraints import Intersection
from seqx.errors import UserError
from seqx.inference.batch_shrinker import BatchShrinker
from seqx.inference.batching import make_batches, output_limits, source_tokens
from seqx.inference.pieces import InputError, Piece
from seqx.interfaces.learning import Grammar, Search
from seqx.interfaces.nbest import Candidate, NBest, distinct
from seqx.interfaces.networks import Model
from seqx.interfaces.text import Task

_MAX_WIDENINGS = 3
"""The maximum times that the beam of an input is doubled because its hypotheses have equal texts."""


class BatchDecoder:
    """Decodes pieces with a search, in batches that fit into memory.

    The caller puts the model into evaluation mode and turns gradients off.

    Args:
        task: gives the grammar of the answers, and turns ids into text
        model: decodes
        device: the device of the model
        batch_tokens: maximum padded tokens of a batch, see `make_batches`
        before_batch: called before each batch; an exception that it raises ends decoding
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
        """Return all hypotheses of the search for each piece with their texts, best first.

        Raises:
            InputError: memory is too small for a single piece, or its constraints cannot be met
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
        `Search.wider`, until it has enough or the search finds no more.

        Args:
            pieces: what is decoded
            search: the search that found the candidates
            candidates: of each piece, from `decode`
        """
        wanted, found = search.num_answers, [*candidates]
        kept = list(map(distinct, found))
        for _ in range(_MAX_WIDENINGS):
            short = [
                i for i in range(len(kept)) if len(kept[i]) < wanted and len(found[i]) >= search.num_answers
            ]
            wider = search.wider() if short else None
            if wider is None:
                break
            search = wider
            try:
                again = self.decode([pieces[i] for i in short], search)
            except InputError:  # out of memory with the wider beam: keep what the narrower one found
                break
            for i, more in zip(short, again, strict=True):
                best_first = sorted([*kept[i], *more], key=lambda candidate: -candidate.hypothesis.score)
                kept[i], found[i] = distinct(best_first)[:wanted], more
        return [
            NBest(best, self.task.answer_warnings(piece.text, [each.hypothesis.ids for each in best]))
            for piece, best in zip(pieces, kept, strict=True)
        ]

    def _decode_batch(
        self, pieces: Sequence[Piece], limits: Sequence[int], search: Search, indices: Sequence[int]
    ) -> list[list[Candidate]]:
        """Decode some of the pieces in one batch. The source is encoded once, for labels and search."""
        batch = [pieces[i] for i in indices]
        source = source_tokens(batch).to(self.device)
        memory = self.model.encode(source)
        labels = self.model.labels(memory) if self.model.has_token_labels else {}
        batch_limits = [limits[i] for i in indices]
        try:
            hypotheses = search(self.model, source, torch.tensor(batch_limits), self._grammar(batch), memory)
        except UserError as error:
            raise self._constraint_error(batch, batch_limits) or error from None
        likeliest = {column: values.argmax(-1).tolist() for column, values in labels.items()}
        results = []
        for row, (piece, found) in enumerate(zip(batch, hypotheses, strict=True)):
            own = {column: ids[row][: piece.length] for column, ids in likeliest.items()}
            results.append([Candidate(self.task.write(h.ids, piece.text, own), h) for h in found])
        return results

    def _grammar(self, pieces: Sequence[Piece]) -> Grammar | None:
        """Return the grammar of the task and of the requests' constraints; None if there are neither."""
        grammar = self.task.grammar([piece.columns for piece in pieces])
        requests = [piece.request for piece in pieces]
        if not any(request.constrained for request in requests):
            return grammar
        constraint = self.task.constraint(requests)
        return constraint if grammar is None else Intersection(grammar, constraint)

    def _constraint_error(self, pieces: Sequence[Piece], limits: Sequence[int]) -> InputError | None:
        """Find the first input whose constraints the task refuses."""
        for piece, limit in sorted(zip(pieces, limits, strict=True), key=lambda pair: pair[0].index):
            if piece.request.constrained:
                try:
                    self.task.constraint([piece.request]).start(1, torch.tensor([limit]))
                except UserError as error:
                    return InputError(str(error), piece.index)
        return None

    def _out_of_memory(self, batch: Sequence[Piece]) -> InputError:
        longest = max(batch, key=lambda piece: piece.length)
        return InputError(
            f"{self.device} has too little memory for a single input, of up to {longest.length} tokens; "
            "take a smaller search.size, or make it shorter (the task's setting `max_length`, where it has "
            f"one); it begins {longest.text[:40]!r}",
            longest.index,
        )
