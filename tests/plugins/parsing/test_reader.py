"""The reader: all trees of the data in any layout, and the lines of malformed trees."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.tree import Tree as NltkTree

import seqx
from seqx_parsing.reader import read
from seqx_parsing.tree import MAX_DEPTH, Leaf, Tree, escape_name


def one(text: str) -> Tree:
    (tree,) = read([text], "here")
    return tree


SENTENCE = Tree(
    "TOP",
    (Tree("S", (Tree("NP", (Leaf("DT", "The"), Leaf("NN", "cat"))), Tree("VP", (Leaf("VBZ", "sleeps"),)))),),
)


@pytest.mark.parametrize(
    "text",
    [
        "(TOP (S (NP (DT The) (NN cat)) (VP (VBZ sleeps))))",
        "( (S (NP (DT The) (NN cat)) (VP (VBZ sleeps))) )",
        "((S(NP(DT The)(NN cat))(VP(VBZ sleeps))))",
        " ( TOP\t( S ( NP (\vDT The ) ( NN\rcat\f) ) ( VP ( VBZ   sleeps ) ) ) ) ",
    ],
)
def test_reader_accepts_any_layout(text: str) -> None:
    assert one(text) == SENTENCE
    assert list(read(text.replace(" ", "\n").splitlines(), "here")) == [SENTENCE]
    assert list(read([f"{text} {text}", "", text], "here")) == [SENTENCE] * 3


def test_reader_keeps_the_label_of_the_root() -> None:
    assert one("(S (NN cat))") == Tree("S", (Leaf("NN", "cat"),))
    assert one("((NN cat))") == Tree("TOP", (Leaf("NN", "cat"),))


def test_reader_ends_words_at_ascii_white_space_only() -> None:
    words = ["a\u00a0b", "\x10\x10", "\x1c", "\u2028", "\x85", "\u3000", "[", "-LRB-"]
    tree = one(f"(TOP {' '.join(f'(NN {word})' for word in words)})")
    assert [leaf.word for leaf in tree.leaves()] == words


def test_reader_yields_trees_as_soon_as_they_end() -> None:
    def lines() -> Iterator[str]:
        yield "(S (NN cat)) (S"
        pytest.fail("read ahead")

    assert next(read(lines(), "here")) == Tree("S", (Leaf("NN", "cat"),))


MARKUP = {
    "CTB": """<?xml version="1.0"?>
<DOC>
<DOCID> X (1) </DOCID>
<DATE>1996</DATE><BODY>
<S ID=1>
( (IP (NN a)
   (VV b)) )
</S>
  <S ID=2> ( (FRAG (NN c)) ) </S>
<S ID=3>
( (IP (NN
d)) ) </S> </BODY> </DOC>""",
    "Treebank-2": """*x*x*x*x*x*x*x*
*x* Copyright (C) 1995 *x*
*x*

( (IP (NN a) (VV b)) )
( (FRAG (NN c)) )
*x* (
( (IP (NN d)) )""",
    "NEGRA": "%% Sent. 1 (2\n(TOP (IP (NN a) (VV b)))\n%%\n(TOP (FRAG (NN c)))\n  %%\n((IP (NN d)))",
}


@pytest.mark.parametrize("name", MARKUP)
@pytest.mark.parametrize("end", ["", "\r"])
def test_reader_ignores_markup_between_trees(name: str, end: str) -> None:
    lines = [line + end for line in MARKUP[name].split("\n")]
    assert list(map(str, read(lines, "here"))) == [
        *("(TOP (IP (NN a) (VV b)))", "(TOP (FRAG (NN c)))", "(TOP (IP (NN d)))")
    ]


@pytest.mark.parametrize("word", ["<S", "ID=1>", "</S>", "<S>", "*x*", "*x*x*", "%%", "<"])
def test_reader_reads_words_of_a_tree_that_look_like_markup(word: str) -> None:
    tree = Tree("TOP", (Leaf("SYM", word), Leaf(word, "a"), Tree(word, (Leaf("X", "b"),))))
    assert list(read([str(tree)], "here")) == [tree]
    assert list(read(str(tree).split(" "), "here")) == [tree]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<P> and\n(S (NN a))", "x.mrg:1: '<P>' is outside of all brackets"),
        ("(S (NN a)) <S ID=1> b", "x.mrg:1: '<S' is outside of all brackets"),
        ("(S (NN a)) *x*", "x.mrg:1: '\\*x\\*' is outside of all brackets"),
        (
            "(S (NN a)\n<S>\n)",
            r"x.mrg:2: the word '<S>' is next to a bracket; give it a tag, as in \(NN <S>\)",
        ),
        ("(S (NN a))\n(S (NN a)))", "x.mrg:2: a closing bracket has no opening bracket"),
        ("(S (NN a))\n\n(S\n(NN a)\n", "x.mrg:5: the text ends inside the tree that begins on line 3"),
        ("(S (NN a))\nand (S (NN a))", "x.mrg:2: 'and' is outside of all brackets"),
        ("(S\n(NP))", r"x.mrg:2: the bracket \(NP\) is empty"),
        ("()", r"x.mrg:1: the bracket \(\) is empty"),
        ("(S (NN a\nb))", r"x.mrg:2: the bracket \(NN a has a second word, 'b'; only one is allowed"),
        ("(S (NN a (NN b)))", r"x.mrg:1: a bracket opens after the word of \(NN a; close that bracket first"),
        ("(S (NN a) b)", r"x.mrg:1: the word 'b' is next to a bracket; give it a tag, as in \(NN b\)"),
        ("(S ((NN a)))", "x.mrg:1: a bracket has no label; write one after it"),
        ("(NN a)", r"x.mrg:1: \(NN a\) is a word, not a tree; write \(TOP \(NN a\)\)"),
        ("\n" + "(X " * (MAX_DEPTH + 1), "x.mrg:2: more than 250 brackets are open at once"),
    ],
)
def test_reader_reports_a_malformed_tree_with_its_line(text: str, message: str) -> None:
    with pytest.raises(seqx.UserError, match=f"^{message}"):
        list(read(text.split("\n"), "x.mrg"))


def test_too_deep_tree_is_flattened_to_the_maximum_depth() -> None:
    text = "(X (NN a) " * (MAX_DEPTH - 2) + "(X (NN b) (NN c)) (NN d)" + ")" * (MAX_DEPTH - 2)
    deepest = one(text)
    assert deepest.readable() is deepest
    deeper = Tree("TOP", (deepest,))
    for tree in (deeper, Tree("TOP", (deeper,))):
        same = one(str(tree))
        assert list(same.leaves()) == list(tree.leaves())
    assert str(deeper).endswith(f"(X (NN a) (NN b) (NN c) (NN d){')' * (MAX_DEPTH - 1)}")


def test_deepest_allowed_tree_can_be_used() -> None:
    text = "(X " * (MAX_DEPTH - 1) + "(NN a)" + ")" * (MAX_DEPTH - 1)
    tree = one(text)
    assert str(tree) == text
    assert list(tree.leaves()) == [Leaf("NN", "a")]
    assert tree == one(text)
    assert len({tree, one(text)}) == 1


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (Tree("TOP", (Leaf("$(", "-"),)), "(TOP ($-LRB- -))"),
        (Tree("N(P", (Leaf("(", "a)b"),)), "(N-LRB-P (-LRB- a-RRB-b))"),
        (Tree("A B", (Leaf("\t", "c\nd"),)), "(A_B (_ c_d))"),
        (Tree("", (Leaf("", ""), Tree("", (Leaf("NN", "a"),)))), "(XX (XX XX) (XX (NN a)))"),
        (Tree("TOP", (Tree("NP", ()), Tree("S", (Tree("VP", ()), Leaf("NN", "a"))))), "(TOP (S (NN a)))"),
        (Tree("TOP", (Tree("NP", (Tree("VP", ()),)),)), ""),
        (Tree("TOP", ()), ""),
    ],
)
def test_tree_escapes_names_that_cannot_be_written(tree: Tree, text: str) -> None:
    assert str(tree) == text
    assert [str(same) for same in read([text], "here")] == [text] * bool(text)


names = st.one_of(
    st.sampled_from(["NP", "$(", "(", ")", "", " ", "-LRB-", "<S", "*x*", "%%"]), st.text(max_size=4)
)
any_trees = st.recursive(
    st.builds(Leaf, names, names),
    lambda parts: st.builds(Tree, names, st.lists(parts, max_size=3).map(tuple)),
    max_leaves=12,
).filter(lambda part: isinstance(part, Tree))


@given(any_trees)
def test_any_tree_can_be_written_and_read_again(tree: Tree) -> None:
    text = str(tree)
    assert "\n" not in text
    again = list(read([text, text], "here"))
    leaves = [Leaf(escape_name(leaf.tag), escape_name(leaf.word)) for leaf in tree.leaves()]
    assert [list(same.leaves()) for same in again] == [leaves] * (2 if leaves else 0)
    assert all(str(same) == text for same in again)
    assert all(same.readable() is same for same in again)


COUNTS = {
    "ptb_nltk_sample/train.mrg.gz": (3_396, 81_793),
    "ptb_nltk_sample/dev.mrg.gz": (273, 6_327),
    "ptb_nltk_sample/test.mrg.gz": (245, 5_964),
    "craft_treebank/train.tree.gz": (18_951, 493_380),
    "craft_treebank/dev.tree.gz": (2_780, 67_652),
    "mctb/law.gold.txt.gz": (1_000, 25_585),
    "mctb/review.gold.txt.gz": (1_000, 13_297),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_reader_reads_every_tree_of_the_data(data: Callable[[str], Path], name: str) -> None:
    folder, _, file = name.partition("/")
    trees = words = 0
    for tree in read(seqx.read_lines(data(folder) / file), file):
        trees += 1
        words += sum(leaf.tag != "-NONE-" for leaf in tree.leaves())
    assert (trees, words) == COUNTS[name]


def test_reader_reads_the_same_trees_as_nltk(data: Callable[[str], Path]) -> None:
    text = "\n".join(seqx.read_lines(data("ptb_nltk_sample") / "dev.mrg.gz"))
    theirs = [NltkTree.fromstring(part) for part in _split_trees(text)]
    ours = [str(tree) for tree in read(text.split("\n"), "dev")]
    assert [_on_one_line(tree) for tree in theirs] == ours


def _split_trees(text: str) -> list[str]:
    """Split a text where no bracket is open."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == ")" and not depth:
            parts.append(text[start : place + 1])
            start = place + 1
    return parts


def _on_one_line(tree: NltkTree) -> str:
    return " ".join(str(tree).split()).replace("( (", "(TOP (", 1)


def test_tree_as_json_has_the_spans_of_its_words() -> None:
    cat, sleeps = (
        {"label": "NP", "span": [0, 2], "children": [word("DT", "The", 0), word("NN", "cat", 1)]},
        {"label": "VP", "span": [2, 3], "children": [word("VBZ", "sleeps", 2)]},
    )
    sentence = {"label": "S", "span": [0, 3], "children": [cat, sleeps]}
    assert SENTENCE.to_json() == {"label": "TOP", "span": [0, 3], "children": [sentence]}


def word(tag: str, text: str, number: int) -> dict[str, object]:
    return {"tag": tag, "word": text, "span": [number, number + 1]}
