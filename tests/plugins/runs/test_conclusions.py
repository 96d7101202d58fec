"""The conclusions at the top of `report.html`: each sentence is shown only if the data support it."""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import seqx
from seqx_runs.breakdown import Breakdown, Part
from seqx_runs.conclusions import MAX_CONCLUSIONS, conclusions

NOTHING: Mapping[str, Any] = {
    "scores": {},
    "again": {},
    "split": "test",
    "rarest": None,
    "mistakes": (),
}


def score(value: float, *, lower: bool = False, interval: seqx.Interval | None = None) -> seqx.Score:
    return seqx.Score(value=value, signature="", lower_is_better=lower, interval=interval)


def validated(
    folder: Path, values: Sequence[float], *, lower: bool = False, perplexities: Sequence[float] = ()
) -> seqx.RecordedMetrics:
    """Return the metrics of a run with these dev scores, and the final score of its model."""
    file = seqx.MetricsFile(folder)
    recorded: list[float | None] = [*perplexities] or [None] * len(values)
    for step, value, perplexity in [
        *zip(count(1), values, recorded, strict=False),
        (len(values), 0.0, None),
    ]:
        line: seqx.ScoreLine = {"value": value, "signature": ""}
        if lower:
            line["lower_is_better"] = True
        scores = {"bleu": line}
        file.append(
            {"kind": "evaluation", "step": step, "split": "dev", "scores": scores, "perplexity": perplexity}
        )
    return file.read()


def group(name: str, category: str, count: int) -> seqx.MistakeGroup:
    return seqx.MistakeGroup(name=name, category=category, count=count, total=50, unit="answers")


def sentences(**values: Any) -> list[str]:
    return conclusions(**{"metrics": seqx.RecordedMetrics(), **NOTHING, **values})


def test_no_data_have_no_conclusions() -> None:
    assert sentences() == []


@pytest.mark.parametrize(("values", "lower"), [([1, 10, 20, 30], False), ([9, 7, 5], True)])
def test_conclusions_advise_longer_training_of_a_rising_score(
    values: list[float], lower: bool, tmp_path: Path
) -> None:
    (sentence,) = sentences(metrics=validated(tmp_path, values, lower=lower))
    change = f"at update {len(values)} ({values[-2]:.2f} to {values[-1]:.2f})"
    assert sentence == (
        f"The dev bleu was still improving at the last validation, {change}: train longer (training.steps)."
    )


SCORES = ([0.68, 1.30, 1.33], [20, 24, 25], [30, 24, 25])


@pytest.mark.parametrize(
    ("values", "margin", "is_shown"),
    [(SCORES[0], 0.48, False), (SCORES[0], 0.02, True), (SCORES[1], 1.1, False), (SCORES[1], 0.9, True)],
)
def test_conclusions_advise_longer_training_if_the_last_gain_is_larger_than_the_margin(
    values: list[float], margin: float, is_shown: bool, tmp_path: Path
) -> None:
    again = {"bleu": score(values[-1], interval=seqx.Interval(mean=values[-1], margin=margin))}
    found = sentences(metrics=validated(tmp_path, values), again=again)
    assert [each[:30] for each in found] == ["The dev bleu was still improvi"] * is_shown


@pytest.mark.parametrize(
    ("values", "perplexities", "is_shown"),
    [
        (SCORES[0], [60.6, 51.7, 48.6], True),
        (SCORES[0], [60.6, 51.7, 51.5], False),
        (SCORES[0], [50.0, 51.7, 48.6], False),
        (SCORES[2], [60.6, 51.7, 48.6], False),
    ],
)
def test_conclusions_advise_longer_training_if_the_perplexity_falls_and_the_score_does_not(
    values: list[float], perplexities: list[float], is_shown: bool, tmp_path: Path
) -> None:
    again = {"bleu": score(values[-1], interval=seqx.Interval(mean=values[-1], margin=2))}
    found = sentences(metrics=validated(tmp_path, values, perplexities=perplexities), again=again)
    change = "The dev perplexity was still falling at the last validation, at update 3 (51.70 to 48.60)"
    assert found == [f"{change}: train longer (training.steps)."] * is_shown


@pytest.mark.parametrize("values", [[], [10, 20], [10, 30, 20], [20, 10, 30], [10, 30, 31]])
def test_conclusions_advise_no_longer_training_of_other_scores(values: list[float], tmp_path: Path) -> None:
    assert sentences(metrics=validated(tmp_path, values)) == []


@pytest.mark.parametrize("is_known", [True, False])
def test_conclusions_name_inputs_with_unseen_words(is_known: bool) -> None:
    unseen, other = Part(name="0 times", count=10, scores=[10.0]), Part(name="1", count=30, scores=[50.0])
    rarest = Breakdown(
        title="", names=["bleu"], parts=[unseen, other], note="", unseen=unseen if is_known else None
    )
    found = sentences(rarest=rarest, again={"bleu": score(40)})
    expected = (
        "10 of 40 inputs (25.0%) have a word (between spaces) that no training input has; their bleu is "
    )
    assert found == [f"{expected}10.00, against 40.00 of all inputs."] * is_known


def test_conclusions_count_repeated_phrases_and_the_most_frequent_mistake() -> None:
    mistakes = [
        group("repeated phrase", "repetition", 9),
        group("der", "missing words", 2),
        group("NP", "labels", 3),
    ]
    assert sentences(mistakes=mistakes) == [
        "9 of 50 answers (18.0%) on test have a repeated phrase that the reference does not have.",
        "The most frequent mistake on test is labels: NP, 3 of 50 answers (6.0%).",
    ]
    assert sentences(mistakes=[group("repeated phrase", "repetition", 0), group("a", "b", 0)]) == []


@pytest.mark.parametrize(
    ("dev", "interval", "end"),
    [
        (60, seqx.Interval(mean=50, margin=5), "; that of dev is outside of the 95% interval of test."),
        (60, None, "."),
        (54, seqx.Interval(mean=50, margin=5), None),
        (51, None, None),
    ],
)
def test_conclusions_compare_dev_and_test(
    dev: float, interval: seqx.Interval | None, end: str | None
) -> None:
    scores = {"dev": {"bleu": score(dev)}, "test": {"bleu": score(50)}}
    found = sentences(scores=scores, again={"bleu": score(50, interval=interval)})
    assert found == ([] if end is None else [f"The bleu of dev and test differ: {dev:.2f} and 50.00{end}"])


def test_conclusions_compare_no_scores_that_may_leave_out_outputs() -> None:
    scores = {
        split: {"f1": seqx.Score(value=value, signature=f"error:{count}")}
        for split, value, count in (("dev", 60, 9), ("test", 50, 0))
    }
    assert not sentences(scores=scores)


def test_conclusions_do_not_name_unseen_words_that_do_no_harm() -> None:
    unseen, other = Part(name="0 times", count=10, scores=[41.0]), Part(name="1", count=30, scores=[39.0])
    rarest = Breakdown(title="", names=["bleu"], parts=[unseen, other], note="", unseen=unseen)
    assert not sentences(rarest=rarest, again={"bleu": score(40)})


@pytest.mark.parametrize(
    ("bleu", "chrf", "named"),
    [
        (1.25, 18.11, "chrf is 18.11, against 18.98"),
        (1.25, 18.50, None),
        (0.6, 18.11, "bleu is 0.60, against 1.19"),
    ],
)
def test_conclusions_name_unseen_words_if_a_score_is_worse_than_chance_explains(
    bleu: float, chrf: float, named: str | None
) -> None:
    unseen, other = (Part(name=name, count=150, scores=[bleu, chrf]) for name in ("0 times", "1 times"))
    rarest = Breakdown(title="", names=["bleu", "chrf"], parts=[unseen, other], note="", unseen=unseen)
    again = {
        "bleu": score(1.19, interval=seqx.Interval(mean=1.16, margin=0.48)),
        "chrf": score(18.98, interval=seqx.Interval(mean=18.99, margin=0.74)),
    }
    found = sentences(rarest=rarest, again=again)
    assert [each.partition("their ")[2] for each in found] == (
        [] if named is None else [f"{named} of all inputs."]
    )


@pytest.mark.parametrize(("count", "value"), [(9, 10.0), (10, 39.0)])
def test_conclusions_do_not_name_few_inputs_or_small_differences(count: int, value: float) -> None:
    unseen, other = Part(name="0 times", count=count, scores=[value]), Part(name="1", count=30, scores=[40.0])
    rarest = Breakdown(title="", names=["bleu"], parts=[unseen, other], note="", unseen=unseen)
    assert not sentences(rarest=rarest, again={"bleu": score(40)})


def test_bars_show_no_parts_with_few_inputs() -> None:
    parts = [Part(name="1", count=12, scores=[40.0]), Part(name="2", count=1, scores=[90.0])]
    rarest = Breakdown(title="", names=["bleu"], parts=parts, note="")
    assert ([*map(rarest.has_bar, parts)], rarest.highest) == ([True, False], 40.0)


def test_conclusions_are_few(tmp_path: Path) -> None:
    unseen = Part(name="0 times", count=10, scores=[10.0])
    found = sentences(
        metrics=validated(tmp_path, [1, 2, 3]),
        scores={"dev": {"bleu": score(60)}, "test": {"bleu": score(50)}},
        rarest=Breakdown(title="", names=["bleu"], parts=[unseen], note="", unseen=unseen),
        mistakes=[group("repeated phrase", "repetition", 9), group("der", "missing words", 2)],
    )
    assert len(found) == MAX_CONCLUSIONS
