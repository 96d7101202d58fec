"""Groups of mistakes in texts and labels."""

import pytest

import seqx
from seqx.tasks.text_mistakes import text_mistakes


def groups_of(source: str, output: str, reference: str, *more: str) -> dict[str, list[str]]:
    """Return the names of the groups by category, without those of single words."""
    answer = seqx.Answer(input=source, output=output, reference=reference, more_references=more)
    found: dict[str, list[str]] = {}
    for group in text_mistakes([answer]):
        assert group.count <= group.total
        if not group.category.endswith("words"):
            found.setdefault(group.category, []).append(group.name)
    return found


@pytest.mark.parametrize(
    ("source", "output", "reference", "category", "name"),
    [
        ("a", "", "ein Wort", "length", "empty answer"),
        ("a", "ein", "ein Wort und noch eins", "length", "too short"),
        ("a", "ein Wort und noch eins", "ein Wort", "length", "too long"),
        ("a", "das ist das ist gut", "das ist wohl gut", "repetition", "repeated phrase"),
        ("the dog", "the dog", "der Hund", "copying", "copied input"),
        (
            "my doggy sleeps",
            "mein doggy schläft",
            "mein Hund schläft",
            "copying",
            "copied source words",
        ),
        ("in 2019", "in 2018", "in 2019", "numbers", "wrong numbers"),
        ("1,000 men", "1.000 Mann", "1.000 Männer", "numbers", ""),
        ("a", "Der hund", "der Hund", "spelling", "only case differs"),
        ("a", "Der Hund !", "Der Hund.", "spelling", "only punctuation differs"),
        ("a", "Der Hund.", "Der  Hund.", "spelling", ""),
        ("a", "sehr sehr gut", "sehr sehr gut", "repetition", ""),
    ],
)
def test_text_mistakes_find_each_group(
    source: str, output: str, reference: str, category: str, name: str
) -> None:
    assert groups_of(source, output, reference).get(category, [""]) == [name]


def test_text_mistakes_compare_with_the_closest_reference() -> None:
    assert groups_of("a", "der Hund schläft", "ein Tier ruht jetzt gerade hier", "der Hund schläft") == {}


def test_text_mistakes_count_missing_and_extra_words() -> None:
    answers = [
        seqx.Answer(input="x", output="der der Hund", reference="die Katze und der Hund"),
        seqx.Answer(input="x", output="Hund", reference="die Hund"),
    ]
    groups = {(g.category, g.name): g for g in text_mistakes(answers)}
    missing = groups["missing words", "die"]
    assert (missing.count, missing.total) == (2, 2)
    assert [example.index for example in missing.examples] == [0, 1]
    extra = groups["extra words", "der"]
    assert (extra.count, extra.total) == (1, 2)


def test_text_mistakes_ignore_capitals_at_the_beginning_of_sentences() -> None:
    answers = [
        seqx.Answer(input="x", output="Ja. Anna lacht.", reference="Ja. Mochte Anna Tee? Der Hund."),
        seqx.Answer(input="x", output="Ist das Anna?", reference="Anna mochte das Tier."),
    ]
    counts = {(g.category, g.name): (g.count, g.total) for g in text_mistakes(answers)}
    assert counts["missing words", "mochte"] == (2, 2)
    assert counts["missing words", "der"] == counts["extra words", "ist"] == (1, 1)
    assert not {("missing words", name) for name in ("Mochte", "Der", "Anna")} & counts.keys()


def test_label_mistakes_count_each_pair_of_labels() -> None:
    pairs = [
        seqx.LabelPair(i, output, reference)
        for i, (output, reference) in enumerate([("a", "b"), ("a", "b"), ("b", "b"), ("c", "b")])
    ]
    first, second = seqx.label_mistakes(pairs, "texts")
    assert (first.name, first.count, first.total) == ("a instead of b", 2, 4)
    assert first.unit == "texts with the label b"
    assert (second.name, second.count) == ("c instead of b", 1)


def marked(group: seqx.MistakeGroup, answer: seqx.Answer) -> dict[str, list[str]]:
    """Return the marked parts of the texts of the first example of a group."""
    example = group.examples[0]
    texts = {"input": answer.input, "output": answer.output, "reference": example.reference or ""}
    return {side: [texts[side][a:b] for a, b in ranges] for side, ranges in example.marks.items()}


@pytest.mark.parametrize(
    ("source", "output", "reference", "name", "parts"),
    [
        ("a", "ein", "ein Wort und eins", "too short", {"output": [], "reference": ["Wort und eins"]}),
        ("a", "es ist, es ist so", "es ist wohl so", "repeated phrase", {"output": ["es ist, es ist"]}),
        ("the dog", "the dog", "the Hund", "copied input", {"output": ["the dog"]}),
        ("My Dogg", "x dogg", "x Hund", "copied source words", {"input": ["Dogg"], "output": ["dogg"]}),
        ("x", "in 7 or 8", "in 8 or 9", "wrong numbers", {"output": ["7"], "reference": ["9"]}),
        ("x", "Der hund", "Der Hund", "only case differs", {"output": ["hund"], "reference": ["Hund"]}),
        ("x", "der der", "die der", "die", {"reference": ["die"]}),
    ],
)  # fmt: skip
def test_examples_of_text_mistakes_mark_the_words(
    source: str, output: str, reference: str, name: str, parts: dict[str, list[str]]
) -> None:
    answer = seqx.Answer(input=source, output=output, reference="another", more_references=[reference])
    (group,) = (group for group in text_mistakes([answer]) if group.name == name)
    assert group.examples[0].reference == reference
    assert marked(group, answer) == parts
