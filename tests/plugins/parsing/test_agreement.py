"""Agreement between parsers, and their F1, on real trees."""

from collections.abc import Callable
from pathlib import Path

import pytest

import seqx
from seqx_parsing import Evalb, Tree
from seqx_parsing.agreement import ParserAgreement
from tests.plugins.parsing.treebank import trees

CAT = "(TOP (S (NP (DT The) (NN cat)) (VP (VBZ sleeps)) (. .)))"


@pytest.mark.parametrize(
    ("other", "f1"),
    [
        (CAT, 100),
        (CAT.replace("NN", "XX").replace("(. .)", "(XX .)"), 100),
        (CAT.removeprefix("(TOP ").removesuffix(")"), 100),
        (CAT.replace("NP", "X"), 100 * 2 / 3),
        ("(TOP (S (NP (DT The) (NN cat)) (VBZ sleeps) (. .)))", 100 * 4 / 5),
        ("(TOP (DT The) (NN cat) (VBZ sleeps) (. .))", 0),
        ("", 0),
    ],
)
def test_parsers_agree_if_brackets_and_labels_are_the_same(other: str, f1: float) -> None:
    for answers in ((CAT, other), (other, CAT), (CAT, CAT, other)):
        agreement = ParserAgreement()
        first = answers[0] if answers[0].startswith("(TOP") else CAT
        assert agreement.add(answers) == (first if f1 == 100 else None)
        assert (agreement.sentences, agreement.agreed, agreement.words) == (1, f1 == 100, 4)
        if len(answers) == 2:
            assert agreement.f1 == pytest.approx(f1)


def test_agreement_without_trees() -> None:
    agreement = ParserAgreement()
    assert agreement.add(("", "")) is None
    assert str(agreement) == (
        "sentences: 1, 0.0 words on average; the models agree on 0 (0.0%); F1 between the models: 0.00"
    )


def without(tree: Tree, label: str) -> Tree:
    """Return the tree without the constituents of this label."""
    children: list[Tree] = []
    for child in tree.children:
        if isinstance(child, Tree):
            inner = without(child, label)
            children += inner.children if child.label == label else [inner]  # type: ignore[arg-type]
        else:
            children.append(child)  # type: ignore[arg-type]
    return Tree(tree.label, tuple(children))


def test_agreement_f1_is_that_of_evalb_over_all_pairs(data: Callable[[str], Path]) -> None:
    gold = trees(data("ptb_nltk_sample"), 300)
    answers = [list(map(str, gold)), *([str(without(t, label)) for t in gold] for label in ("PP", "ADVP"))]
    agreement = ParserAgreement()
    kept = list(filter(None, map(agreement.add, zip(*answers, strict=True))))
    alike = [one for one, *others in zip(*answers, strict=True) if {*others} == {one}]
    assert 0 < len(alike) < 150
    assert kept == alike
    assert agreement.agreed_words == sum(len(list(t.leaves())) for t in gold if str(t) in kept)
    two = ParserAgreement()
    for answer in zip(*answers[:2], strict=True):
        two.add(answer)
    assert two.f1 == pytest.approx(Evalb()(answers[1], answers[0])["f1"].value)
    pairs = [Evalb()(answers[i], answers[j])["f1"].value for i, j in ((1, 0), (2, 0), (2, 1))]
    assert min(pairs) < agreement.f1 < max(pairs)
    assert agreement.f1 == pytest.approx(sum(pairs) / 3, abs=0.2)


def test_trees_over_other_words_are_refused() -> None:
    with pytest.raises(
        seqx.UserError, match=r"read different words of one sentence, 'cat' and 'cat_NN'; set"
    ):
        ParserAgreement().add(("(S (NN cat))", "(S (XX cat_NN))"))
    with pytest.raises(seqx.UserError, match="None and 'sat'"):
        ParserAgreement().add(("(S (NN cat))", "(S (NN cat) (NN sat))"))
