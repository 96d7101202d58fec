"""Mistakes in trees, and drawings of differences."""

import xml.etree.ElementTree as ET

import seqx
from seqx_parsing.mistakes import draw_difference, label_scores, tree_mistakes

GOLD = "(TOP (S (NP (PRP I)) (VP (VBD saw) (NP (DT a) (NN man)) (PP (IN with) (NP (NNS eyes))))))"
ATTACHED = "(TOP (S (NP (PRP I)) (VP (VBD saw) (NP (NP (DT a) (NN man)) (PP (IN with) (NP (NNS eyes)))))))"
LABELLED = "(TOP (S (NP (PRP I)) (VP (VBD saw) (NP (DT a) (NN man)) (ADVP (IN with) (NP (NNS eyes))))))"


def answer(output: str, reference: str = GOLD) -> seqx.Answer:
    return seqx.Answer(input="I saw a man with eyes", output=output, reference=reference)


def counts(*outputs: str) -> dict[tuple[str, str], tuple[int, int]]:
    groups = tree_mistakes([answer(output) for output in outputs])
    return {(group.category, group.name): (group.count, group.total) for group in groups}


def test_tree_mistakes_of_equal_trees_are_none() -> None:
    assert counts(GOLD) == {}
    assert counts(GOLD.replace("PRP I", "NN I")) == {}  # tags are no brackets


def test_tree_mistakes_find_attachments() -> None:
    assert counts(ATTACHED) == {
        ("wrong brackets", "NP"): (1, 4),
        ("attachments", "PP below NP instead of VP"): (1, 1),
        ("attachments", "NP below NP instead of VP"): (1, 3),
    }


def test_tree_mistakes_find_wrong_labels() -> None:
    found = counts(LABELLED)
    assert found["missing brackets", "PP"] == (1, 1)
    assert found["wrong brackets", "ADVP"] == (1, 1)
    assert found["wrong labels of correct spans", "ADVP instead of PP"] == (1, 1)


def test_tree_mistakes_count_outputs_without_a_tree_over_the_words() -> None:
    name = ("trees", "no tree over the words of the sentence")
    assert counts("", "(TOP (S (NP (PRP I))))", "not a tree", GOLD) == {name: (3, 4)}


def test_tree_mistakes_ignore_wrong_tags_of_punctuation() -> None:
    gold, output = "(TOP (S (NP (NN dogs)) (. .)))", "(TOP (S (NP (NN dogs)) (NN .)))"
    assert tree_mistakes([answer(output, gold)]) == []


def test_label_scores_have_recall_and_precision_of_each_label() -> None:
    (table,) = label_scores([answer(ATTACHED), answer("")])
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["NP"] == (6, 4, 3, 50.0, 75.0, 60.0)
    assert rows["PP"][:3] == (2, 1, 1)


def test_drawing_marks_brackets_that_the_other_tree_lacks() -> None:
    reference, output = draw_difference(answer(LABELLED))
    assert reference.title == "Reference (1 of its brackets differ)"
    assert reference.text == GOLD
    for drawing, label in ((reference, "PP"), (output, "ADVP")):
        texts = ET.fromstring(drawing.svg).iter("{http://www.w3.org/2000/svg}text")
        assert [text.text for text in texts if text.get("class") == "wrong"] == [label]
    assert draw_difference(answer("")) == []
    long = "(TOP (S" + " (NN word)" * 41 + "))"
    assert draw_difference(answer(long, long)) == []


def test_examples_of_tree_mistakes_mark_the_constituents() -> None:
    def marked(output: str, name: str) -> dict[str, str]:
        one = answer(output)
        (group,) = (group for group in tree_mistakes([one]) if group.name == name)
        texts = {"output": one.output, "reference": one.reference}
        return {side: texts[side][a:b] for side, ((a, b),) in group.examples[0].marks.items()}

    assert marked(LABELLED, "PP") == {"reference": "(PP (IN with) (NP (NNS eyes)))"}
    assert marked(LABELLED, "ADVP") == {"output": "(ADVP (IN with) (NP (NNS eyes)))"}
    assert marked(LABELLED, "ADVP instead of PP") == {
        "output": "(ADVP (IN with) (NP (NNS eyes)))",
        "reference": "(PP (IN with) (NP (NNS eyes)))",
    }
    assert marked(ATTACHED, "PP below NP instead of VP")["output"] == "(PP (IN with) (NP (NNS eyes)))"
    untagged = LABELLED.replace("DT a", "XX a")
    assert marked(untagged, "ADVP") == {"output": "(ADVP (IN with) (NP (NNS eyes)))"}
