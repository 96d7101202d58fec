"""Perplexities that overflow, the comparison of scores, and scores in JSON."""

import json
import math
from typing import Any

import pytest
from pydantic import TypeAdapter

import seqx
from seqx.interfaces.scores import ValidationScore
from seqx.storage.checkpoint_info import TrainingProgress
from seqx.storage.json_format import json_text
from seqx.training.config import Patience
from seqx.training.progress import patience_is_over, validated

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("nats", "expected"),
    [(0.0, 1.0), (-1.0, 1 / math.e), (709.0, math.exp(709)), (710.0, INF), (1e308, INF), (INF, INF)],
)
def test_perplexity_that_overflows_is_infinite(nats: float, expected: float) -> None:
    assert seqx.perplexity(nats) == expected
    assert math.isnan(seqx.perplexity(NAN))


def score(value: float, perplexity: float | None = None, *, lower_is_better: bool = False) -> ValidationScore:
    first = seqx.Score(value=value, signature="", lower_is_better=lower_is_better)
    scores = {"main": first, "other": seqx.Score(value=1.0, signature="")}
    return seqx.Evaluation(scores=scores, perplexity=perplexity).validation_score()


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (score(2), score(1)),
        (score(2, 9), score(1, 3)),
        (score(-1), score(-2)),
        (score(1), score(NAN)),
        (score(0), score(NAN)),
        (score(0, 3), score(0, 9)),
        (score(0, 3), score(0, INF)),
        (score(0, 3), score(0)),
        (score(0, INF), score(0, NAN)),
        (score(NAN, 3), score(NAN, 9)),
        (score(1, lower_is_better=True), score(2, lower_is_better=True)),
        (score(2, lower_is_better=True), score(INF, lower_is_better=True)),
        (score(2, lower_is_better=True), score(NAN, lower_is_better=True)),
        (score(INF, 3, lower_is_better=True), score(NAN, 9, lower_is_better=True)),
    ],
)
def test_better_score_beats_the_other(better: ValidationScore, worse: ValidationScore) -> None:
    assert better.beats(worse)
    assert not worse.beats(better)
    assert better.improves(worse)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (score(1, 3), score(1, 9)),  # perplexity decides only while the score is at its worst
        (score(0, 3), score(0, 3)),
        (score(0, NAN), score(0, NAN)),
        (score(0, NAN), score(0)),
        (score(0, lower_is_better=True), score(0, lower_is_better=True)),
        (score(INF, INF, lower_is_better=True), score(INF, INF, lower_is_better=True)),
    ],
)
def test_equal_scores_do_not_beat_each_other(one: ValidationScore, other: ValidationScore) -> None:
    assert not one.beats(other)
    assert not other.beats(one)


def test_validation_score_is_found_by_its_name() -> None:
    evaluation = seqx.Evaluation(
        scores={
            "bleu": seqx.Score(value=3.0, signature=""),
            "x": seqx.Score(value=2.0, signature="", lower_is_better=True),
        },
        perplexity=7.0,
    )
    found = [evaluation.validation_score(name) for name in (None, "x", "perplexity")]
    assert [(each.name, each.value, each.rank) for each in found] == [
        *(("bleu", 3.0, 3.0), ("x", 2.0, -2.0), ("perplexity", 7.0, -7.0))
    ]
    assert [*map(str, found)] == ["bleu 3.00, perplexity 7", "x 2.00, perplexity 7", "perplexity 7"]
    with pytest.raises(
        seqx.UserError, match=r"no score called 'y'; .* name one of these: bleu, x, perplexity$"
    ):
        evaluation.validation_score("y")
    own = seqx.Evaluation(
        scores={"perplexity": seqx.Score(value=5.0, signature="", lower_is_better=True)}, perplexity=7.0
    )
    assert own.validation_score("perplexity").value == 5.0  # the perplexity that the task computes


def test_patience_starts_again_with_another_score() -> None:
    progress = TrainingProgress()
    for _ in range(3):
        progress = validated(progress, score(1), None)
    assert progress.stale == 2
    assert patience_is_over(progress, Patience(validations=2))
    assert not patience_is_over(progress, Patience(validations=3))
    assert not patience_is_over(progress, None)
    assert not patience_is_over(progress, Patience(validations=2, by="main"))
    assert validated(progress, score(0), "main").stale == 0


@pytest.mark.parametrize(
    ("values", "lower_is_better", "expected"),
    [
        ([0, 0, 0, 0, 0, 0], False, None),  # perplexity falls
        ([0, 0, 0, 1, 1, 1], False, 6),  # better than 0.00, then twice no better
        ([0, 0, 1, 1, 1, 1], False, 5),  # a tie above the minimum counts
        ([0.004, 0.003, 0.002, 0.001, 0.001, 0.001], False, None),  # printed as 0.00
        ([0.04, 0.03, 0.02, 0.01, 0.01, 0.01], False, 3),
        ([5, 0, 0, 0, 0, 0], False, 3),
        ([NAN] * 6, False, None),
        ([NAN, 1, NAN, NAN, NAN, NAN], False, 4),
        ([5, 4, 3, 2, 1, 0.5], True, None),
        ([5, 5, 5, 5, 5, 5], True, 3),
        ([INF] * 6, True, None),
        ([3, INF, INF, INF, INF, INF], True, 3),
    ],
)
def test_patience_of_two_ends_after_a_validation(
    values: list[float], lower_is_better: bool, expected: int | None
) -> None:
    """The perplexity falls with each validation, and decides while the score is at its worst."""
    progress, ended = TrainingProgress(), None
    for i, value in enumerate(values):
        progress = validated(progress, score(value, 9.0 - i, lower_is_better=lower_is_better), None)
        if ended is None and patience_is_over(progress, Patience(validations=2)):
            ended = i + 1
    assert ended == expected


@pytest.mark.parametrize("value", [INF, -INF, NAN, 1.5, 1e300])
def test_json_round_trips_numbers_that_are_not_finite(value: float) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = json_text({"a": [value, {"b": (value, None, "ä", True, 3)}]})
    plain: Any = json.loads(text, parse_constant=refuse)
    assert plain["a"][1]["b"][1:] == [None, "ä", True, 3]
    for found in (plain["a"][0], plain["a"][1]["b"][0]):
        read = TypeAdapter(float).validate_python(found)
        assert str(read) == str(float(found)) == str(value)


def test_settings_of_a_score_leave_out_the_results_that_its_metric_declares() -> None:
    score = seqx.Score(value=1, signature="recall:macro|said:7|of:9", results=["said"])
    assert score.settings == "recall:macro|of:9"
    assert score.to_json() == {"value": 1, "signature": score.signature, "results": ["said"]}
    detail = seqx.Score(value=1, signature="a|valid:3", is_detail=True)  # as of earlier versions
    assert (detail.settings, detail.to_json()["is_detail"]) == ("a", True)


def test_note_of_a_score_is_printed_and_stored() -> None:
    score = seqx.Score(value=1, signature="a", note="without 1 of 2 outputs")
    assert str(score) == "1.00 (without 1 of 2 outputs)  a"
    assert TypeAdapter(seqx.Score).validate_python(score.to_json()) == score
