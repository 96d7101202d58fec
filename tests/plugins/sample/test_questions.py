"""Questions about sentences, and their answers."""

from collections import Counter
from functools import cache

from seqx_sample import Sample


@cache
def rows() -> list[tuple[str, ...]]:
    """Return the rows, which are not generated when tests are collected."""
    return list(Sample(train=3000, columns=("en", "question", "answer")).rows("train"))


def test_question_and_answer_of_known_sentences() -> None:
    known = {sentence: (question, answer) for sentence, question, answer in rows()}
    for sentence, question, answer in [
        ("There was a shoe in the office.", "What is there?", "A shoe"),
        ("Please travel through the forest.", "What shall one do?", "travel through the forest"),
        (
            "The fast bus drove through the darkest city.",
            "What drove through the darkest city?",
            "The fast bus",
        ),
        ("These geese have always run away in the park.", "Where have these geese run away?", "In the park"),
        (
            "A man who is drawing our map is telling her aunt the poem now.",
            *("When is a man telling her aunt the poem?", "Now"),
        ),
        *[(asking, asking, "unknown") for asking in ["Which customers does the poor teacher listen to?"]],
    ]:
        assert known[sentence] == (question, answer)


def test_answers_of_questions_occur_in_their_sentences() -> None:
    kinds = Counter(question.split()[0] for _, question, _ in rows())
    assert kinds.keys() == {"Who", "What", "When", "Where", "Which"}
    assert min(kinds.values()) > 50
    for sentence, question, answer in rows():
        assert question.endswith("?")
        assert answer == "unknown" or answer.lower() in sentence.lower(), (sentence, question, answer)
        assert (answer == "unknown") <= sentence.endswith("?")
    assert 0.04 < sum(answer == "unknown" for *_, answer in rows()) / len(rows()) < 0.1
