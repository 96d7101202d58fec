"""Constraints on trees: the intersection of a constraint with the grammar of trees."""

from pathlib import Path
from typing import Any

import pytest

import seqx
from tests.models import PARSING, write_model

SENTENCES = ["The dog sleeps .", "A man sees the house .", "It rains ."]
CONSTRAINTS: list[dict[str, Any]] = [
    {"prefix": "(S (VP (NP"},
    {"prefix": "(S (V"},
    {"forbid": ("(NP",)},
    {"require": ("(SBAR",)},
    {"require": ("(VP",), "forbid": ("(S (NP",), "prefix": "(S"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "m", text=PARSING)


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
def test_constrained_tree_needs_no_repair(model: Path, constraint: dict[str, Any]) -> None:
    predictor = seqx.load(model, device="cpu", precision="fp32", overrides=["search.size=6"])
    symbols: Any = predictor.task._symbols  # type: ignore[attr-defined]
    requests = [seqx.Request(input=sentence, **constraint) for sentence in SENTENCES]
    for answers, sentence in zip(predictor.hypotheses(requests), SENTENCES, strict=True):
        tree, hypothesis = answers[0]
        written = " ".join(symbols.symbols_of(hypothesis.ids))
        assert written.startswith(constraint.get("prefix", ""))
        assert all(f"{phrase} " in f"{written} " for phrase in constraint.get("require", ()))
        assert not any(f"{phrase} " in f"{written} " for phrase in constraint.get("forbid", ()))
        assert written.split().count("XX") == len(sentence.split())
        assert tree.count("(") == tree.count(")")
        repaired = answers.warnings[-1]
        assert (repaired.count, repaired.total) == (0, len(answers))


def test_unknown_label_of_a_phrase_is_named(model: Path) -> None:
    predictor = seqx.load(model, device="cpu", precision="fp32")
    for phrases in ({"require": ("(NP", "(S (NPP")}, {"forbid": ("(NPP",)}):
        requests = [seqx.Request(input=SENTENCES[0]), seqx.Request(input=SENTENCES[0], **phrases)]
        with pytest.raises(seqx.InputError, match=r"writes no symbol '\(NPP'; use .*\(NP") as caught:
            predictor(requests)
        assert caught.value.index == 1
    with pytest.raises(seqx.InputError, match="writes no symbol '123'; `seqx trees convert`"):
        predictor([seqx.Request(input=SENTENCES[0], require=("123",))])


def test_impossible_prefix_of_a_tree_has_no_answer(model: Path) -> None:
    """The prefix closes a bracket that is not open. The grammar of trees does not allow it."""
    predictor = seqx.load(model, device="cpu", precision="fp32")
    requests = [
        seqx.Request(input=SENTENCES[0], prefix="(S )NP"),
        seqx.Request(input=SENTENCES[0], prefix="(S"),
    ]
    assert [bool(answers) for answers in predictor.hypotheses(requests)] == [False, True]
    assert predictor(requests)[0] == ""
