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
_MIN_GAIN = 0.005  # of the last validation, as a fraction of the score
_MIN_DIFFERENCE = 0.05  # of dev and test without an interval, as a fraction of the score

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
        *_rising(metrics),
        *_unseen_words(rarest, again),
        *_repetition(mistakes, split),
        *_dev_and_test(scores, again if split == "test" else {}),
        *_most_frequent(mistakes, split),
    )
    return [*islice(sentences, MAX_CONCLUSIONS)]


def _rising(metrics: seqx.RecordedMetrics) -> Iterator[str]:
    """Yield a sentence if each of the last validations was better than the one before."""
    by_step: dict[int, tuple[str, seqx.Score]] = {}
    for each in metrics.evaluations:
        if each.split == "dev" and each.scores:
            by_step.setdefault(each.step, next(iter(each.scores.items())))  # the final model is scored last
    last = [*by_step.items()][-_VALIDATIONS:]
    ranks = [score.rank for _, (_, score) in last]
    if len(last) < _VALIDATIONS or not all(before < after for before, after in pairwise(ranks)):
        return
    if not ranks[-1] - ranks[-2] >= _MIN_GAIN * abs(ranks[-1]):
        return
    (_, (name, before)), (step, (_, after)) = last[-2:]
    yield (
        f"The dev {name} was still improving at the last validation, at update {step:,} ({before.value:.2f} "
        f"to {after.value:.2f}): train longer (training.steps)."
    )


def _unseen_words(rarest: Breakdown | None, again: Mapping[str, seqx.Score]) -> Iterator[str]:
    """Yield a sentence about the inputs with a word that no training input has, if their score is worse."""
    unseen = None if rarest is None else rarest.unseen
    if rarest is None or unseen is None or not unseen.scores:
        return
    name, total = rarest.names[0], sum(part.count for part in rarest.parts)
    every = ""
    if (score := again.get(name)) is not None:
        if replace(score, value=unseen.scores[0]).rank >= score.rank:
            return
        every = f", against {score.value:.2f} of all inputs"
    yield (
        f"{unseen.count:,} of {total:,} inputs ({100 * unseen.count / total:.1f}%) have a word (between "
        f"spaces) that no training input has; their {name} is {unseen.scores[0]:.2f}{every}."
    )


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
