"""`task.keep`: addresses, tags and placeholders come back unchanged, or a warning counts the answers."""

import time
from collections import Counter
from pathlib import Path

import pytest

import seqx
from seqx.tasks.protected import Protected, protected_spans
from tests.models import RECIPE, write_model

LINES = [
    "The <b>old</b> man &amp; {name}.",
    "See https://example.org/a?b=c. The dog sleeps.",
    "",
    "The dog sleeps.",
    "%s men, write to a.b@example.org!",
]
KEEP = "task.keep=[url, xml, placeholder]"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(
        tmp_path_factory.mktemp("models") / "m", text=RECIPE.replace("max_length: 24", "max_length: 60")
    )


@pytest.mark.parametrize(
    ("kind", "text", "spans"),
    [
        ("url", "(see http://a.org/b_(c), www.d.de!) f@g.com.", ["http://a.org/b_(c", "www.d.de", "f@g.com"]),
        ("url", "e.g. this, and a@b", []),
        ("xml", '<a href="x">b</a> 1 < 2 &lt; &#228; A&B', ['<a href="x">', "</a>", "&lt;", "&#228;"]),
        (
            "placeholder",
            "{a} {{b}} ${c} %(d)s %1$s 5 % s {not this}",
            ["{a}", "{{b}}", "${c}", "%(d)s", "%1$s"],
        ),
    ],
)
def test_protected_spans_are_found(kind: Protected, text: str, spans: list[str]) -> None:
    assert protected_spans(text, [kind]) == spans


@pytest.mark.parametrize("part", ["a", "a.", "a@", "<a", "${a", "http://", "www."])
def test_protected_spans_are_found_in_linear_time(part: str) -> None:
    start = time.process_time()
    protected_spans(part * (100_000 // len(part)), ["url", "xml", "placeholder"])
    assert time.process_time() - start < 2


@pytest.mark.parametrize("search", ["search.size=6", "search=greedy"])
def test_answers_keep_protected_spans(model: Path, search: str) -> None:
    predictor = seqx.load(model, device="cpu", overrides=[KEEP, search, "search.extra=60"])
    nbests = list(predictor.hypotheses(LINES))
    for line, nbest in zip(LINES, nbests, strict=True):
        wanted = Counter(protected_spans(line, ["url", "xml", "placeholder"]))
        assert all(span in nbest.text for span in wanted)
    free = seqx.load(model, device="cpu", overrides=[search, "search.extra=60"])(LINES)
    assert nbests[3].text == free[3] != ""  # nothing to keep
    assert nbests[0].text != free[0]


def test_answers_without_protected_spans_are_counted(model: Path) -> None:
    short = [KEEP, "search.extra=1", "search.ratio=0.01"]
    nbests = list(seqx.load(model, device="cpu", overrides=short).hypotheses(LINES))
    assert all(nbest.text for nbest in nbests[:2])  # found by a search without the spans
    assert [nbest.text for nbest in nbests] == seqx.load(model, device="cpu", overrides=short[1:])(LINES)
    (warning,) = [w for w in seqx.sum_warnings(nbests) if "lack" in w.message]
    assert str(warning) == "3 of 4 answers lack a url or xml or placeholder of their input"


def test_a_span_that_occurs_twice_must_be_kept_twice(model: Path) -> None:
    predictor = seqx.load(model, device="cpu", overrides=[KEEP])
    twice, once = (predictor.task.read(text)["source"][:-1] for text in ("{a} {a}", "{a}"))
    counts = [w.count for ids in (twice, once) for w in predictor.task.answer_warnings("{a} x {a}", [ids])]
    assert counts == [0, 1]
