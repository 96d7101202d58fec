"""The parts of a long input, which can be answered at different times."""

from collections.abc import Sequence
from dataclasses import dataclass

from seqx.inference.decoding import join_pieces
from seqx.interfaces.scores import AnswerWarning
from seqx.interfaces.task import NBest, Request, Task


@dataclass(frozen=True)
class InputParts:
    """The parts of an input, each of which is a request to the predictor that split it."""

    requests: Sequence[Request]
    lengths: Sequence[int]  # the number of tokens of each part
    _warnings: Sequence[AnswerWarning]  # about the length of the input
    _task: Task

    def join(self, answers: Sequence[NBest]) -> NBest:
        """Return the answer to the input, from the n-best lists of all requests."""
        if len(self.requests) == 1:
            return answers[0]
        own = {warning.message for warning in self._warnings}
        others = [
            NBest(nbest, [each for each in nbest.warnings if each.message not in own], nbest.traces)
            for nbest in answers
        ]
        joined = join_pieces(self._task, others)
        return NBest(joined, [*self._warnings, *joined.warnings], joined.traces)
