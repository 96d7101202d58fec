"""Recording of the hypotheses of each step of a search.

Letters in shapes: B sentences, K hypotheses of each sentence, C candidates, T tokens.
"""

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

import seqx
from seqx_search.beam_state import Active, Continuations

Outcome = Literal["kept", "finished", "pruned"]


def record_beam(
    trace: seqx.SearchTrace,
    sentences: Sequence[int],
    active: Active,
    best: Continuations,
    step: int,
    penalty: float,
    *,
    groups: int = 1,
) -> None:
    """Record the continuations of one step of a beam search.

    Args:
        trace: the trace
        sentences: the numbers of the sentences [B]
        active: the hypotheses before the step [B, K]
        best: their best continuations [B, C]
        step: the number of symbols before the step, T
        penalty: the divisor of the score of a hypothesis that ends in this step
        groups: the number of groups of the beam; the continuations of a group follow each other
    """
    size = active.score.size(1) // groups
    candidates = best.score.size(1) // groups
    columns = (active.ids[:, :, :step], best.score, best.logprob, best.parent, best.token)
    for sentence, ids, *row in zip(sentences, *(column.tolist() for column in columns), strict=True):
        hypotheses, kept = list[seqx.TracedHypothesis](), 0
        for index, (score, logprob, parent, token) in enumerate(zip(*row, strict=True)):
            rank = index % candidates
            kept = kept if rank else 0
            if score == -math.inf:
                continue
            is_finished = token == seqx.EOS and rank < size
            is_kept = token != seqx.EOS and kept < size
            kept += is_kept
            outcome: Outcome = "finished" if is_finished else "kept" if is_kept else "pruned"
            hypotheses.append(
                seqx.TracedHypothesis(
                    [*ids[parent], token], score / penalty if is_finished else score, logprob, outcome
                )
            )
        if hypotheses:  # else the sentence was done before
            trace.steps[sentence].append(hypotheses)


def record_single(
    trace: seqx.SearchTrace, sentences: Tensor, ids: Tensor, logprob: Tensor, rejected: Tensor
) -> None:
    """Record the only hypothesis of each sentence.

    Args:
        trace: the trace
        sentences: the numbers of the sentences [B]
        ids: the symbols so far [B, T]; sentences with EOS before the last one were done before
        logprob: their log-probabilities [B]
        rejected: true for hypotheses that were dropped [B]
    """
    columns = (sentences, ids, logprob, rejected)
    for sentence, row, value, is_rejected in zip(*(column.tolist() for column in columns), strict=True):
        if seqx.EOS not in row[:-1]:
            outcome: Outcome = "pruned" if is_rejected else "finished" if row[-1] == seqx.EOS else "kept"
            trace.steps[sentence].append([seqx.TracedHypothesis(row, value, value, outcome)])
