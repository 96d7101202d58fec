"""Diverse beam search: groups of hypotheses that avoid each other's symbols.

Letters in shapes: B sentences, G groups of each sentence, W hypotheses of each group, V symbols, T tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

import seqx
from seqx_search.beam import Beam
from seqx_search.beam_state import Active, Continuations, Finished
from seqx_search.processors import process
from seqx_search.trace import record_beam


@dataclass(frozen=True, kw_only=True)
class DiverseBeam(Beam):
    """Diverse beam search (Vijayakumar et al. 2016): n-best lists with different answers.

    The beam is divided into groups, which are extended one after the other. In each step, the score of a
    symbol is lowered by `diversity` for each hypothesis of an earlier group that continues with the same
    symbol (Hamming diversity, section 4.1). So the first group is a usual beam search. An n-best list has
    answers of all groups. `score` includes what was subtracted, `logprob` is that of the model.

    Args:
        groups: number of groups; it must divide `size`
        diversity: subtracted from the score of a symbol for each hypothesis that has taken it
    """

    groups: Annotated[int, Gt(0)] = 2
    diversity: Annotated[float, Ge(0)] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % self.groups:
            raise ValueError(
                f"groups is {self.groups}, which does not divide size, {self.size}; change one of them"
            )

    def specification(self) -> seqx.SearchSpec:
        """Refuse a description, because other programs form groups in another way.

        Raises:
            UnspecifiedError: always
        """
        raise seqx.UnspecifiedError(type(self).__name__)

    @property
    def _width(self) -> int:
        """The number of hypotheses of a group, W."""
        return self.size // self.groups

    @cached_property
    def _beam(self) -> Beam:
        """The search of one group."""
        return Beam(size=self._width, alpha=self.alpha, nbest=self._kept // self.groups)

    @property
    def _kept(self) -> int:
        """The number of finished hypotheses of all groups that are kept for a sentence."""
        return self.groups * -(-self.nbest // self.groups)

    @property
    def _changes_scores(self) -> bool:
        return True

    def _start(self, count: int, steps: int, device: torch.device) -> tuple[Active, Finished]:
        active, finished = super()._start(count, steps, device)
        active.score[:, :: self._width] = 0  # one empty hypothesis for each group
        return active, finished

    def _continuations(
        self,
        active: Active,
        logprobs: Tensor,
        allowed: Tensor | None,
        remaining: Tensor | None,
        at_limit: Tensor | None,
        step: int,
    ) -> Continuations:
        """Return the 2 * W best continuations of each group, one group after the other."""
        count = len(active.score)

        def of_group(tensor: Tensor, group: int) -> Tensor:
            return tensor.view(count, self.groups, self._width, -1)[:, group].flatten(0, 1)

        taken = logprobs.new_zeros(count, logprobs.size(1))  # the hypotheses that have taken each symbol
        found: list[Continuations] = []
        for group in range(self.groups):
            begin, end = group * self._width, (group + 1) * self._width
            scores = of_group(logprobs, group)
            in_group = Active(*(tensor[:, begin:end].contiguous() for tensor in active))
            changed = process(self.processors, scores, in_group.ids[:, :, :step].flatten(0, 1))
            penalty = (taken * self.diversity).repeat_interleave(self._width, 0)
            best = self._beam._best(  # noqa: SLF001
                in_group,
                scores,
                changed - penalty,
                None if allowed is None else of_group(allowed, group),
                None if remaining is None else of_group(remaining, group),
                at_limit,
            )
            ends = best.token == seqx.EOS
            first = self._beam._first_unfinished(ends)  # noqa: SLF001
            enters = torch.zeros_like(ends).scatter(1, first, value=True)
            enters[:, : self._width] |= ends[:, : self._width]
            enters &= best.score > -torch.inf
            taken.scatter_add_(1, best.token, enters.to(taken.dtype))
            found.append(best._replace(parent=best.parent + begin))
        return Continuations(*(torch.cat(tensors, 1) for tensors in zip(*found, strict=True)))

    def _first_unfinished(self, ends: Tensor) -> Tensor:
        """Return the indices of the first W continuations of each group that do not end."""
        by_group = ends.view(len(ends), self.groups, -1)
        first = by_group.int().argsort(dim=2, stable=True)[:, :, : self._width]
        begins = torch.arange(self.groups, device=ends.device)[:, None] * by_group.size(2)
        return (first + begins).flatten(1)

    def _finish(self, finished: Finished, active: Active, best: Continuations, step: int) -> Finished:
        """Add the hypotheses that end to the finished hypotheses of their group."""
        best = best._replace(parent=best.parent % self._width)  # within the group
        of_groups = self._beam._finish(  # noqa: SLF001
            Finished(*self._as_sentences(finished)),
            Active(*self._as_sentences(active)),
            Continuations(*self._as_sentences(best)),
            step,
        )
        return Finished(*(tensor.view(-1, self._kept, *tensor.shape[2:]) for tensor in of_groups))

    def _done(self, finished: Finished, active: Active, last_penalty: Tensor, step: int) -> Tensor:
        """Return true for sentences of which no group can find a better hypothesis [B]."""
        done = super()._done(
            Finished(*self._as_sentences(finished)),
            Active(*self._as_sentences(active)),
            last_penalty.repeat_interleave(self.groups),
            step,
        )
        return done.view(-1, self.groups).all(1)

    def _as_sentences(self, tensors: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield tensors [B, G * C, ...] as if each group were a sentence: [B * G, C, ...]."""
        for tensor in tensors:
            yield tensor.reshape(len(tensor) * self.groups, -1, *tensor.shape[2:])

    def _record(
        self,
        trace: seqx.SearchTrace,
        sentences: Sequence[int],
        active: Active,
        best: Continuations,
        step: int,
    ) -> None:
        record_beam(trace, sentences, active, best, step, self.penalty(step + 1), groups=self.groups)
