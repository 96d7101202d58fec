"""Cleaning of trees, by hand and on all data."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seqx
from seqx_parsing.cleaning import clean, cut, escape, unescape
from seqx_parsing.reader import read
from seqx_parsing.tree import Leaf, Tree


def read_tree(text: str) -> Tree:
    (tree,) = read([text], "here")
    return tree


def test_clean_removes_traces_and_empty_constituents() -> None:
    tree = read_tree(
        "( (SBARQ (WHNP-1 (WP What)) (SQ (VBZ is) (NP-SBJ (DT this)) (VP (NP (-NONE- *T*-1)) "
        "(S (NP-SBJ (-NONE- *)) (VP (TO to) (VP (VB do)))) (SBAR (S (-NONE- *?*))))) (. ?)))"
    )
    assert str(clean(tree)) == (
        "(TOP (SBARQ (WHNP (WP What)) (SQ (VBZ is) (NP (DT this)) (VP (S (VP (TO to) (VP (VB do)))))) (. ?)))"
    )
    assert clean(read_tree("( (S (NP (-NONE- *)) (VP (-NONE- *?*))))")) is None


@pytest.mark.parametrize(
    ("label", "reference_label", "training_label"),
    [
        ("NP", "NP", "NP"),
        ("NP-SBJ-12", "NP", "NP"),
        ("NP=2", "NP", "NP"),
        ("ADVP|PRT-CLR", "ADVP|PRT", "ADVP"),
        ("PRT|ADVP", "PRT|ADVP", "PRT"),
        ("-LRB-", "-LRB-", "-LRB-"),
        ("-NONE-", "-NONE-", "-NONE-"),
        ("-LRB-##f=x##", "-LRB-", "-LRB-"),
        ("=", "=", "="),
        ("##", "##", "##"),
        ("|", "|", "|"),
        ("NP##num=s|gen=f##", "NP", "NP"),
        ("NP-SUJ##num=s##", "NP", "NP"),
        ("VN##_##", "VN", "VN"),
    ],
)
def test_clean_cuts_labels(label: str, reference_label: str, training_label: str) -> None:
    for training in (False, True):
        tree = clean(Tree(label, (Leaf("NN", "a"),)), training=training)
        assert tree is not None
        assert tree.label == (training_label if training else reference_label)


@pytest.mark.parametrize(
    ("name", "separators", "short"),
    [
        ("NP-SBJ=1", (), "NP-SBJ=1"),
        ("NP-SBJ=1", ("=",), "NP-SBJ"),
        ("NP_SBJ-1", ("_",), "NP"),
        ("A::B:C", (":", "::"), "A"),
        ("::B:C", ("::",), "::B:C"),
        ("::B:C", (":", "::", "C"), "::B:"),
        ("", ("-",), ""),
    ],
)
def test_cut_ends_at_the_first_separator(name: str, separators: tuple[str, ...], short: str) -> None:
    assert cut(name, separators) == short


def test_clean_cuts_features_and_finds_traces() -> None:
    tree = read_tree("( (SENT (NP##n=s## (DET##cat=D|num=s## la) (-NONE-##x## *)) (PONCT##_## a##b)))")
    assert str(clean(tree)) == "(TOP (SENT (NP (DET la)) (PONCT a##b)))"
    assert str(clean(tree, separators=["="], tag_separators=["##cat", "=", "_"])) == (
        "(TOP (SENT (NP##n (DET la) (-NONE-##x## *)) (PONCT## a##b)))"
    )


def test_clean_does_not_cut_tags_and_words() -> None:
    tree = read_tree("(TOP (NP-SBJ (NN-x a-b=c) (NN|JJ d|e) (-LRB- -LRB-)))")
    assert str(clean(tree, training=True)) == "(TOP (NP (NN-x a-b=c) (NN|JJ d|e) (-LRB- -LRB-)))"


def test_unescape_returns_words_of_running_text() -> None:
    examples = {"-LRB-": "(", "-RCB-": "}", '."-RRB--LRB-,': '.")(,', r"1\/2": "1/2", r"\*\*": "**", "[": "["}
    assert {word: unescape(word) for word in examples} == examples
    assert escape("(a/b*[{") == r"-LRB-a\/b\*-LSB--LCB-"


@given(st.text("ab()[]{}/*\\"))
def test_unescape_restores_escaped_words(word: str) -> None:
    assert unescape(escape(word)) == word
    assert not set("()") & set(escape(word))


FILES = {
    "ptb_nltk_sample/train.mrg.gz": (649, 25),
    "ptb_nltk_sample/dev.mrg.gz": None,
    "ptb_nltk_sample/test.mrg.gz": None,
    "craft_treebank/train.tree.gz": (203, 28),
    "craft_treebank/dev.tree.gz": None,
    "mctb/law.gold.txt.gz": None,
    "mctb/review.gold.txt.gz": None,
}


def constituents(tree: Tree) -> Iterator[Tree]:
    yield tree
    for child in tree.children:
        if isinstance(child, Tree):
            yield from constituents(child)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_clean_trees_of_the_data(data: Callable[[str], Path], name: str) -> None:
    """Every eighth tree of CRAFT is cleaned, and all trees of the others."""
    folder, _, file = name.partition("/")
    before, after, words = set(), set(), set()
    step = 8 if folder == "craft_treebank" else 1  # it has one tree in each line
    for tree in read(islice(seqx.read_lines(data(folder) / file), 0, None, step), file):
        leaves = [leaf for leaf in tree.leaves() if leaf.tag != "-NONE-"]
        reference, training_tree = clean(tree), clean(tree, training=True)
        if not leaves:
            assert reference is training_tree is None
            continue
        assert reference is not None
        assert training_tree is not None
        # no other leaf is removed or changed
        assert list(reference.leaves()) == list(training_tree.leaves()) == leaves
        assert clean(reference) == reference
        parts = list(constituents(reference))
        assert all(part.children for part in parts)
        assert not any(re.search("[-=]", part.label) for part in parts)
        before |= {part.label for part in constituents(tree)}
        after |= {part.label for part in constituents(training_tree)}
        words |= {leaf.word for leaf in leaves}
    labels = len(before - {"TOP"}), len(after - {"TOP"})  # the treebanks' outermost brackets have none
    assert FILES[name] in (None, labels)
    for word in words:
        assert unescape(escape(unescape(word))) == unescape(word)
        if name.startswith("ptb"):
            assert escape(unescape(word)) == word
    assert name.startswith(("ptb", "mctb/review")) or "[" in words
