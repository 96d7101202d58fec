"""Formats of trees, read by other programs where there is one."""

from itertools import pairwise
from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring
from nltk.corpus.reader import ConllCorpusReader
from nltk.tree import Tree as NltkTree

from seqx_parsing import Bracket, Leaf, Tree, read
from seqx_parsing.formats import FORMATS

SENTENCE = "(TOP (S (NP (DT The) (NN cat)) (VP (VBZ sees) (NP (NP (PRP$ \\alpha))))))"
ODD = "(TOP (S&T (X_1 日本語) (<y> a\x01b\u00a0c) (-LRB- -LRB-) (# {50%~^$}) (. .)) (NP (NN x)))"


def tree_of(text: str) -> Tree:
    (tree,) = read([text], "here")
    return tree


def test_tree_brackets_have_labels_and_spans() -> None:
    assert tree_of(SENTENCE).brackets() == [
        *(Bracket("TOP", 0, 4), Bracket("S", 0, 4), Bracket("NP", 0, 2), Bracket("VP", 2, 4)),
        *(Bracket("NP", 3, 4), Bracket("NP", 3, 4)),
    ]
    assert Tree("TOP", (Tree("A", ()), Leaf("X", "x"))).brackets()[1] == Bracket("A", 0, 0)


@pytest.mark.promise("nltk-trees")
def test_tree_is_converted_to_nltk_and_back() -> None:
    assert tree_of(SENTENCE).to_nltk() == NltkTree.fromstring(SENTENCE)
    for text in (SENTENCE, ODD):
        assert Tree.from_nltk(tree_of(text).to_nltk()) == tree_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("( (S (NN x)))", "(TOP (S (NN x)))"),
        ("(NN x)", "(TOP (NN x))"),
        ("(S the (NN x))", "(S (XX the) (NN x))"),
        ("(S the x)", "(S (XX the) (XX x))"),
    ],
)
def test_tree_of_nltk_gets_missing_labels_and_tags(text: str, expected: str) -> None:
    assert str(Tree.from_nltk(NltkTree.fromstring(text))) == expected


@pytest.mark.parametrize("text", [SENTENCE, ODD])
def test_conll_columns_are_read_by_nltk(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])  # NLTK reads files in these folders only
    tree = tree_of(text)
    (tmp_path / "trees").write_text(FORMATS["conll"].write(tree) + "\n", encoding="utf-8")
    columns = [*["ignore"] * 3, "words", "pos", "tree", *["ignore"] * 6]
    reader = ConllCorpusReader(str(tmp_path), ["trees"], columns, root_label="TOP")
    (found,) = reader.parsed_sents(pos_in_tree=True)
    assert str(Tree.from_nltk(found)) == str(tree).replace("\u00a0", "_")


def test_conll_parse_bits_are_those_of_the_definition() -> None:
    rows = [line.split(" ") for line in FORMATS["conll"].write(tree_of(SENTENCE)).splitlines()]
    assert [row[5] for row in rows] == ["(TOP(S(NP*", "*)", "(VP*", "(NP(NP*)))))"]
    assert rows[1] == ["-", "0", "1", "cat", "NN", "*)", "-", "-", "-", "-", "*", "-"]


def test_spans_have_the_words_of_each_constituent() -> None:
    assert FORMATS["spans"].write(tree_of(SENTENCE)).splitlines()[2:4] == [
        "NP\t0\t2\tThe cat",
        "VP\t2\t4\tsees \\alpha",
    ]


def test_latex_escapes_characters_with_a_meaning() -> None:
    assert FORMATS["latex"].write(tree_of("(S (PRP$ 5\\/6) (# {a,b}^~_%&))")) == (
        r"\begin{forest} [{S} [{PRP\$} [{5\textbackslash{}/6}]] "
        r"[{\#} [{\{a,b\}\textasciicircum{}\textasciitilde{}\_\%\&}]]] \end{forest}"
    )


@pytest.mark.parametrize("text", [SENTENCE, ODD, "(TOP (AVERYLONGLABEL (X a)))"])
def test_svg_shows_every_label_and_word_without_overlap(text: str) -> None:
    tree = tree_of(text)
    image = fromstring(FORMATS["svg"].write(tree))
    texts = [node for node in image if node.tag.endswith("text")]
    shown = [node.text for node in texts]
    names = [bracket.label for bracket in tree.brackets()] + [name for leaf in tree.leaves() for name in leaf]
    assert sorted(shown) == sorted(name.replace("\x01", "\ufffd") for name in names)
    rows: dict[str, list[tuple[float, float]]] = {}
    for node in texts:
        x, half = float(node.attrib["x"]), 4.8 * len(node.text)
        assert x - half >= 0
        assert x + half <= float(image.attrib["width"])
        rows.setdefault(node.attrib["y"], []).append((x - half, x + half))
    for row in rows.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(row))
    assert len(rows[max(rows, key=float)]) == len([*tree.leaves()])
