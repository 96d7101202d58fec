"""Linearisation restores trees, and decodes any other symbols to a tree."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqx_parsing import TOP, InOrder, Leaf, Linearisation, TopDown, Tree, Vocabulary
from tests.plugins.parsing.treebank import FILES, trees

LINEARISATIONS = [TopDown(), TopDown(tags=True), InOrder(), InOrder(tags=True)]
every = pytest.mark.parametrize("linearisation", LINEARISATIONS, ids=repr)

TREE = Tree(
    TOP,
    (
        Tree(
            "S",
            (
                Tree("NP", (Leaf("DT", "The"), Leaf("NN", "cat"))),
                Tree("VP", (Leaf("VBZ", "sleeps"),)),
                Leaf(".", "."),
            ),
        ),
    ),
)
LEAVES = list(TREE.leaves())


@pytest.mark.parametrize(
    ("linearisation", "symbols"),
    [
        (TopDown(), "(S (NP XX XX )NP (VP XX )VP XX )S"),
        (TopDown(tags=True), "(S (NP DT NN )NP (VP VBZ )VP . )S"),
        (InOrder(), "XX (NP XX )NP (S XX (VP )VP XX )S"),
        (InOrder(tags=True), "DT (NP NN )NP (S VBZ (VP )VP . )S"),
    ],
)
def test_linearisation_symbols(linearisation: Linearisation, symbols: str) -> None:
    assert linearisation.encode(TREE) == symbols.split()
    assert linearisation.decode(symbols.split(), LEAVES) == (TREE, False)


@pytest.mark.slow
@pytest.mark.parametrize("linearisation", [TopDown(), InOrder(tags=True)], ids=repr)
@pytest.mark.parametrize("treebank", FILES)
def test_linearisation_restores_trees_of_the_treebanks(
    data: Callable[[str], Path], treebank: str, linearisation: Linearisation
) -> None:
    found = trees(data(treebank))
    assert len(found) == {"ptb_nltk_sample": 3914, "craft_treebank": 695, "mctb": 500}[treebank]
    assert [
        tree
        for tree in found
        if linearisation.decode(linearisation.encode(tree), list(tree.leaves())) != (tree, False)
    ] == []


WORD = Leaf("NN", "cat")
ODD = {
    "a word alone": Tree(TOP, (WORD,)),
    "words alone": Tree(TOP, (WORD, WORD)),
    "several constituents": Tree(TOP, (Tree("S", (WORD,)), Tree("S", (WORD, WORD)))),
    "a constituent and a word": Tree(TOP, (Tree("S", (WORD,)), WORD)),
    "a label over itself": Tree(TOP, (Tree("NP", (Tree("NP", (Tree("NP", (WORD, WORD)),)),)),)),
    "TOP over TOP": Tree(TOP, (Tree(TOP, (WORD, WORD)),)),
    "TOP inside": Tree(TOP, (Tree("S", (Tree(TOP, (WORD,)), WORD)),)),
    "no words": Tree(TOP, ()),
}


@every
@pytest.mark.parametrize("tree", ODD.values(), ids=ODD)
def test_linearisation_restores_odd_trees(linearisation: Linearisation, tree: Tree) -> None:
    assert linearisation.decode(linearisation.encode(tree), list(tree.leaves())) == (tree, False)


@every
def test_linearisation_restores_a_tree_deeper_than_the_python_stack(linearisation: Linearisation) -> None:
    tree = Tree("NP", (WORD,))
    for _ in range(5000):
        tree = Tree("NP", (tree, WORD))
    symbols = linearisation.encode(Tree(TOP, (tree,)))
    decoded, repaired = linearisation.decode(symbols, [WORD] * 5001)
    assert not repaired
    assert linearisation.encode(decoded) == symbols
    assert sum(1 for _ in decoded.leaves()) == 5001


@every
def test_tree_with_another_root_is_decoded_below_top(linearisation: Linearisation) -> None:
    tree = Tree("S", (Tree("VP", (WORD,)),))
    assert linearisation.decode(linearisation.encode(tree), [WORD]) == (Tree(TOP, (tree,)), False)


def _brackets(children: st.SearchStrategy[Tree | Leaf]) -> st.SearchStrategy[Tree]:
    labels = st.sampled_from(["S", "NP", "VP", TOP])
    return st.builds(Tree, labels, st.lists(children, min_size=1, max_size=4).map(tuple))


some_leaves = st.builds(Leaf, st.sampled_from(["NN", ",", "-LRB-", "XX"]), st.sampled_from(["a", "b", "("]))
some_trees = st.recursive(some_leaves, _brackets, max_leaves=12)
tops = st.lists(some_trees, min_size=1, max_size=3).map(lambda children: Tree(TOP, tuple(children)))


@every
@settings(deadline=None, derandomize=True)
@given(tree=tops)
def test_linearisation_restores_any_tree(linearisation: Linearisation, tree: Tree) -> None:
    assert linearisation.decode(linearisation.encode(tree), list(tree.leaves())) == (tree, False)


def _has_empty_constituent(tree: Tree | Leaf) -> bool:
    return isinstance(tree, Tree) and (not tree.children or any(map(_has_empty_constituent, tree.children)))


NOISE = ["(S", ")S", "(NP", ")NP", "(TOP", ")TOP", "XX", "NN", "(", ")", "", "<unk>", "(S (NP"]


@every
@settings(max_examples=300, deadline=None, derandomize=True)
@given(symbols=st.lists(st.sampled_from(NOISE)), leaves=st.lists(some_leaves))
def test_any_symbols_are_decoded_to_a_tree_over_the_words(
    linearisation: Linearisation, symbols: list[str], leaves: list[Leaf]
) -> None:
    tree, repaired = linearisation.decode(symbols, leaves)
    assert tree.label == TOP
    assert [leaf.word for leaf in tree.leaves()] == [leaf.word for leaf in leaves]
    assert linearisation.tags or list(tree.leaves()) == leaves
    assert not leaves or not _has_empty_constituent(tree)
    again = linearisation.encode(tree)
    assert linearisation.decode(again, list(tree.leaves())) == (tree, False)
    assert repaired or again == symbols or "(TOP" in symbols  # a TOP with a single constituent is not written


REPAIRED = [  # the sentence is a b c d
    ("(S (NP XX XX )NP (VP XX )VP )S", "(TOP (S (NP a b) (VP c)) d)"),  # too few words
    ("(S (NP XX XX )NP (VP XX", "(TOP (S (NP a b) (VP c) d))"),  # cut off
    ("(S (NP XX XX XX XX XX )NP )S", "(TOP (S (NP a b c d)))"),  # too many words
    ("(S (NP XX XX (VP XX )VP XX )S", "(TOP (S (NP a b (VP c) d)))"),  # a closing bracket is missing
    ("(S XX XX )NP XX XX )S", "(TOP (S a b c d))"),  # a closing bracket without an opening one
    ("(S (NP )NP XX XX XX XX )S", "(TOP (S a b c d))"),  # an empty constituent
    ("(S XX XX XX XX (NP )NP )S", "(TOP (S a b c d))"),
    ("XX XX XX XX", "(TOP a b c d)"),  # no brackets
    ("", "(TOP a b c d)"),
    ("(S XX XX )S (S XX XX )S", "(TOP (S a b) (S c d))"),  # two trees
    ("(S XX <unk> XX XX XX )S", "(TOP (S a b c d))"),  # an unknown symbol
]


def _sentence(words: str) -> list[Leaf]:
    return [Leaf("NN", word) for word in words]


def _tagged(tree: str) -> str:
    return re.sub(r"\b([a-d])\b", r"(NN \1)", tree)


@pytest.mark.parametrize(("symbols", "tree"), REPAIRED)
def test_decode_repairs_top_down_symbols(symbols: str, tree: str) -> None:
    decoded, repaired = TopDown().decode(symbols.split(), _sentence("abcd"))
    assert str(decoded) == _tagged(tree)
    assert repaired


@pytest.mark.parametrize(
    ("symbols", "tree"),
    [
        ("XX (NP (S XX )S XX XX )NP", "(TOP (NP a (S b) c d))"),  # S has no finished part before it to adopt
        ("(S XX XX XX XX )S", "(TOP (S a b c d))"),
        ("XX (S XX )S XX (VP XX )VP", "(TOP (S a b) (VP c d))"),  # two roots
        ("XX (S XX XX", "(TOP (S a b c d))"),
    ],
)
def test_decode_repairs_in_order_symbols(symbols: str, tree: str) -> None:
    decoded, repaired = InOrder().decode(symbols.split(), _sentence("abcd"))
    assert str(decoded) == _tagged(tree)
    assert repaired


def test_unwritten_words_keep_their_tags() -> None:
    decoded, repaired = TopDown(tags=True).decode(["(S", "DT", ")S"], _sentence("ab"))
    assert str(decoded) == "(TOP (S (DT a)) (NN b))"
    assert repaired


def test_vocabulary_of_symbols() -> None:
    vocabulary = Vocabulary.of([TopDown().encode(TREE), ["(X", ")X"]])
    assert vocabulary.symbols == ("(NP", "(S", "(VP", "(X", ")NP", ")S", ")VP", ")X", "XX")
    assert vocabulary.size == 13
    assert vocabulary.ids(["(NP", "XX", "?"]) == [4, 12, 3]
    assert vocabulary.symbols_of([1, 4, 12, 3, 2, 0]) == ["(NP", "XX", "<unk>"]
