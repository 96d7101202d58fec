"""Metrics of answers, labels and summaries compared with values computed by hand."""

import importlib.util
from importlib.metadata import version

import pytest

from seqx_text import F1, Accuracy, ExactMatch, Rouge, SquadF1


@pytest.mark.parametrize(
    ("output", "reference", "exact", "f1"),
    [
        ("The cat.", "cat", 1, 1),
        ("a theatre", "theatre", 1, 1),  # "the" is only removed as a word
        ("the red cat", "the red dog", 0, 1 / 2),
        ("cat cat", "cat", 0, 2 / 3),  # only one of two is correct
        ("", "", 1, 1),
        ("the", "", 1, 1),
        ("cat", "", 0, 0),
        ("", "cat", 0, 0),
        ("U.S. dollars", "us  DOLLARS", 1, 1),
        ("dog", "cat", 0, 0),
    ],
)
def test_squad_metrics_equal_the_values_computed_by_hand(
    output: str, reference: str, exact: int, f1: float
) -> None:
    assert ExactMatch()([output], [reference])["exact_match"].value == 100 * exact
    assert SquadF1()([output], [reference])["squad_f1"].value == pytest.approx(100 * f1)


def test_squad_metrics_use_the_best_reference() -> None:
    outputs, references = ["in a big bed", "Anna"], ["bed|the big bed", "Otto|Anna"]
    assert SquadF1(between="|")(outputs, references)["squad_f1"].value == pytest.approx((80 + 100) / 2)
    score = ExactMatch(between="|")(outputs, references)["exact_match"]
    assert score.value == 50
    assert (
        score.signature == "case:lc|punctuation:no|articles:no|answers:best of those between '|'|questions:2"
    )
    assert ExactMatch()(outputs, references)["exact_match"].value == 0
    with pytest.raises(ValueError, match="between is empty"):
        SquadF1(between="")


def test_label_metrics_equal_the_values_computed_by_hand() -> None:
    references = ["good", "good", "bad", "bad", "so"]
    outputs = ["good", "bad", "bad ", "bad", "strange"]
    assert Accuracy()(outputs, references)["accuracy"].value == pytest.approx(60)
    scores = F1()(outputs, references)
    expected = {"f1(bad)": 100 * 4 / 5, "f1(good)": 100 * 2 / 3, "f1(so)": 0}
    assert list(scores) == ["macro_f1", *expected]
    assert {name: scores[name].value for name in expected} == pytest.approx(expected)
    assert scores["macro_f1"].value == pytest.approx(sum(expected.values()) / 3)
    assert scores["f1(bad)"].signature == "right:2|said:3|wanted:2"
    assert list(F1(each=False)(outputs, references)) == ["macro_f1"]


def test_rouge_equals_the_values_computed_by_hand() -> None:
    """ "a b c d" and "a c b d e" share 4 words, no bigram, and the subsequence "a b d"."""
    scores = Rouge()(["A b c d."], ["a c b d e"])
    values = {name: score.value for name, score in scores.items()}
    expected = {"rougeL": 100 * 2 * 3 / 9, "rouge1": 100 * 2 * 4 / 9, "rouge2": 0}
    assert list(values) == list(expected)
    assert values == pytest.approx(expected)
    assert scores["rougeL"].signature == f"f:1|stem:no|rouge-score:{version('rouge-score')}"
    stems = Rouge(kinds=("rouge1",), stem=True)(["jumping dogs"], ["jumped dog"])
    assert stems["rouge1"].value == pytest.approx(100)
    with pytest.raises(ValueError, match="kinds is empty"):
        Rouge(kinds=())


def test_rouge_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"not installed: pip install rouge-score"):
        Rouge()
