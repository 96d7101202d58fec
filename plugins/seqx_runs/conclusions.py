"""Conclusions from the data of a run, in plain sentences for the top of its report."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, pairwise

import seqx
from seqx_runs.breakdown import Breakdown

MAX_CONCLUSIONS = 4
"""The maximum number of sentences."""

_VALIDATIONS = 3  # of which each must be better than the one before
_MIN_DIFFERENCE = 0.05  # of scores without an interval, as a fraction of the score
_MIN_FALL = 0.01  # of the perplexity between two validations, as a fraction of it

Scores = Mapping[str, Mapping[str, seqx.Score]]
"""Scores by split and name."""


def conclusions(
    metrics: seqx.RecordedMetrics,
    scores: Scores,
    *,
    again: Mapping[str, seqx.Score],
    split: str | None,
    rarest: Breakdown | None,
    mistakes: Sequence[seqx.MistakeGroup],
) -> list[str]:
    """Return at most `MAX_CONCLUSIONS` sentences, each only if the data support it.

    Args:
        metrics: the recorded metrics, with the scores of validations
        scores: the scores of the final model
        again: the scores of the split, computed again with confidence intervals
        split: the split whose answers are known; None: no answers are known
        rarest: the scores by the rarest word of the input
        mistakes: the groups of mistakes
    """
    sentences = (
        *_rising(metrics, again),
        *_unseen_words(rarest, again),
        *_repetition(mistakes, split),
        *_dev_and_test(scores, again if split == "test" else {}),
        *_most_frequent(mistakes, split),
    )
    return [*islice(sentences, MAX_CONCLUSIONS)]


def _rising(metrics: seqx.RecordedMetrics, again: Mapping[str, seqx.Score]) -> Iterator[str]:
    """Yield a sentence if the last validations show that longer training would help.

    Each of them must have a better score than the one before, and the last difference must be larger than the
    margin of the score. Perplexity varies less: if the score is not lower than before, it is enough that each
    validation has a clearly lower perplexity.
    """
    last = [each for each in metrics.validations if each.scores][-_VALIDATIONS:]
    if len(last) < _VALIDATIONS:
        return
    name, final = next(iter(last[-1].scores.items()))
    found = [each.scores[name] for each in last if name in each.scores]
    ranks, perplexities = [score.rank for score in found], [each.perplexity or math.nan for each in last]
    interval = again[name].interval if name in again else None
    margin = _MIN_DIFFERENCE * abs(final.value) if interval is None else interval.margin
    if len(found) < _VALIDATIONS or not ranks[0] <= ranks[-1]:
        return
    if all(before < after for before, after in pairwise(ranks)) and ranks[-1] - ranks[-2] > margin:
        change = f"{name} was still improving"
        before, after = found[-2].value, final.value
    elif all(after < (1 - _MIN_FALL) * before for before, after in pairwise(perplexities)):
        change = "perplexity was still falling"
        before, after = perplexities[-2:]
    else:
        return
    yield (
        f"The dev {change} at the last validation, at update {last[-1].step:,} ({before:.2f} "
        f"to {after:.2f}): train longer (training.steps)."
    )


def _unseen_words(rarest: Breakdown | None, again: Mapping[str, seqx.Score]) -> Iterator[str]:
    """Yield a sentence about the inputs with a word that no training input has, if a score of them is worse.

    The difference from the score of all inputs must be larger than chance explains, as far as it is known,
    and there must be more than a few such inputs.
    """
    unseen = None if rarest is None else rarest.unseen
    if (
        rarest is None
        or unseen is None
        or not rarest.has_bar(unseen)
        or len(unseen.scores) != len(rarest.names)
    ):
        return
    total = sum(part.count for part in rarest.parts)
    inputs = (
        f"{unseen.count:,} of {total:,} inputs ({100 * unseen.count / total:.1f}%) have a word (between "
        "spaces) that no training input has"
    )
    for name, value in zip(rarest.names, unseen.scores, strict=True):
        score = again.get(name)
        if score is None:
            continue
        # The variance of the difference between the mean of n of N values and that of all is s^2 (1/n - 1/N).
        margin = (
            _MIN_DIFFERENCE * abs(score.value)
            if score.interval is None
            else score.interval.margin * (total / unseen.count - 1) ** 0.5
        )
        if score.rank - replace(score, value=value).rank > margin:
            yield f"{inputs}; their {name} is {value:.2f}, against {score.value:.2f} of all inputs."
            return


def _repetition(mistakes: Sequence[seqx.MistakeGroup], split: str | None) -> Iterator[str]:
    for group in mistakes:
        if group.category == "repetition" and group.count:
            yield f"{_counted(group)} on {split} have a {group.name} that the reference does not have."


def _dev_and_test(scores: Scores, again: Mapping[str, seqx.Score]) -> Iterator[str]:
    """Yield a sentence if the scores of dev and test differ by more than chance, as far as it is known."""
    dev, test = scores.get("dev", {}), scores.get("test", {})
    name = next((name for name in test if name in dev), None)
    if name is None:
        return
    one, other = dev[name].value, test[name].value
    interval = again[name].interval if name in again else None
    if interval is None and any(score.settings != score.signature for score in (dev[name], test[name])):
        return  # results in the signature may say that a score leaves out some outputs
    if interval is None:
        distance, margin, more = one - other, _MIN_DIFFERENCE * max(abs(one), abs(other)), ""
    else:
        distance, margin = one - interval.mean, interval.margin
        more = "; that of dev is outside of the 95% interval of test"
    if math.isfinite(distance) and abs(distance) > margin:
        yield f"The {name} of dev and test differ: {one:.2f} and {other:.2f}{more}."


def _most_frequent(mistakes: Sequence[seqx.MistakeGroup], split: str | None) -> Iterator[str]:
    found = [group for group in mistakes if group.category != "repetition" and group.count]
    if found:
        group = max(found, key=lambda each: each.count)
        yield f"The most frequent mistake on {split} is {group.category}: {group.name}, {_counted(group)}."


def _counted(group: seqx.MistakeGroup) -> str:
    share = 100 * group.count / max(1, group.total)
    return f"{group.count:,} of {group.total:,} {group.unit} ({share:.1f}%)"
