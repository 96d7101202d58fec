"""Detection of dummy roots in treebanks and by EVALB, and their replacement."""

import pytest

from seqx_parsing import Evalb
from seqx_parsing.cleaning import clean
from seqx_parsing.reader import read
from seqx_parsing.roots import RootLabels, without_root

ROOTED = ["(ROOT (S (NP (NN a)) (VP (VB b))))", "(ROOT (FRAG (NP (NN a))))"]
PLAIN = "(S (NP (NN a)) (VP (VB b)))"


@pytest.mark.parametrize(
    ("trees", "dummy"),
    [
        (ROOTED, "ROOT"),
        ([f"( {tree})" for tree in ROOTED], "ROOT"),
        ([tree.replace("ROOT", "S1") for tree in ROOTED], "S1"),
        ([tree.replace("ROOT", "root-X") for tree in ROOTED], "root"),
        (["(VROOT (S (NN a)) ($. .))", "(VROOT (NN a))"], "VROOT"),
        ([tree.replace("ROOT", "Whole") for tree in ROOTED], "Whole"),  # a single child, of different kinds
        (["(ROOT (S (NN a)))"], "ROOT"),
        ([tree.replace("ROOT", "TOP") for tree in ROOTED], None),
        ([f"({tree[6:]}" for tree in ROOTED], None),
        ([*ROOTED, PLAIN], None),
        ([*ROOTED, "(TOP (NN a))"], None),
        ([*ROOTED, "(ROOT (S (ROOT (NN a))))"], None),  # it is a constituent elsewhere
        ([PLAIN, PLAIN], None),
        ([f"( {PLAIN})", f"(TOP {PLAIN})"], None),
        ([PLAIN, "(S (VP (VB b)))"], None),
        (["(S (VP (VB b)))", "(S (VP (VB c)))"], None),
        (["(SENT (NP (NN a)) (. .))", "(SENT (VN (V b)))"], None),
        ([], None),
    ],
)
def test_root_labels_find_the_dummy_root_of_all_trees(trees: list[str], dummy: str | None) -> None:
    roots = RootLabels()
    for tree in filter(None, map(clean, read(trees, "here"))):
        roots.add_tree(tree)
    assert roots.common_dummy == dummy


@pytest.mark.parametrize(
    ("trees", "dummies"),
    [
        (ROOTED, ["ROOT"]),
        ([*ROOTED, PLAIN], ["ROOT"]),
        ([*ROOTED, "(TOP (NN a))", "(S1 (S (NN a)))"], ["ROOT", "S1"]),
        ([*ROOTED, PLAIN, "(TOP (S (ROOT (NN a))))"], []),  # it is a constituent elsewhere
        ([PLAIN, "(FRAG (NN a))"], []),
    ],
)
def test_root_labels_find_the_dummy_roots_of_some_trees(trees: list[str], dummies: list[str]) -> None:
    roots = RootLabels()
    for tree in filter(None, map(clean, read(trees, "here"))):
        roots.add_tree(tree)
    assert roots.probable_dummies == dummies


def test_evalb_names_dummy_roots_of_some_trees() -> None:
    mixed = [*ROOTED, "(S1 (S (NN a)))"]
    warnings = Evalb().warnings(mixed, [*ROOTED, "(TOP (S (NN a)))"])
    assert [line.partition(" and is scored")[0] for line in warnings] == [
        "ROOT is the outermost bracket of some references and of some outputs",
        "S1 is the outermost bracket of some references",
    ]


def test_dummy_root_becomes_top() -> None:
    for text, same in (
        ("(ROOT (S (NN a)))", "(TOP (S (NN a)))"),
        ("(TOP (ROOT (S (NN a)) (. .)))", "(TOP (S (NN a)) (. .))"),
        (PLAIN, PLAIN),
        ("(TOP (S (ROOT (NN a))))", "(TOP (S (ROOT (NN a))))"),
    ):
        (tree,) = read([text], "here")
        assert str(without_root(tree, "ROOT")) == same
        assert without_root(tree, None) is tree


def test_evalb_names_a_dummy_root_that_counts() -> None:
    punctuated = [tree.replace("(NN a)", "(NN a) (. .)") for tree in ROOTED]
    flat = ["(TOP (NN a) (VB b) (. .))", "(TOP (NN a) (. .))"]
    bare = ["(S (NP (NN a) (. .)) (VP (VB b)))", "(FRAG (NP (NN a)) (. .))"]
    message = (
        "ROOT is the outermost bracket of all {} and is scored like any other bracket; "
        "if it is a dummy root, add DELETE_LABEL ROOT to the parameters, or replace it by TOP"
    )
    for outputs, references, sides in (
        (punctuated, punctuated, "references and of all outputs"),
        ([punctuated[0], ""], punctuated, "references and of all outputs"),
        (["(ROOT", *punctuated[1:]], punctuated, "references and of all outputs"),
        (flat, punctuated, "references"),
        (punctuated, bare, "outputs"),
        (bare, bare, ""),
        ([PLAIN], [PLAIN], ""),
        (flat, flat, ""),
        ([f"( {tree})" for tree in bare], bare, ""),
    ):
        report = Evalb(errors=True).report(outputs, references)
        warnings = Evalb(strict=True).warnings(references, outputs)
        assert warnings == ([message.format(sides)] if sides else [])
        assert (message.format(sides) in report) == bool(sides)
    assert Evalb()(punctuated, punctuated)["f1"].value == 100
