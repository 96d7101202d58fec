"""`report.html` and `seqx errors`, for finished, unfinished and damaged runs."""

import base64
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import seqx
from seqx_runs import breakdown, report, run_facts
from seqx_runs.marks import excerpts, marked_parts
from seqx_runs.pages import visible
from seqx_runs.sentences import Span, rank_answers, word_differences
from seqx_sample import Sample
from tests.browser import Browser, browser
from tests.stories.tiny import TINY, done, refused, tiny

HOSTILE = "</script><script>alert(1)</script> \x00\x1b[31m \u202eabc & <b>"


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a finished run, whose report was written at its end."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("SEQX_REPORT")  # which tests/conftest.py sets
        done("run", tiny(TINY), "training.clip=5", "task.max_length=64", "--folder", "run")
    return folder / "run"


@pytest.fixture
def run(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(finished_run, "run"))


def unfinished(run: Path) -> Path:
    for name in ("model", "outputs"):
        shutil.rmtree(run / name)
    return run


class Page(HTMLParser):
    """The elements of a page, checked to be balanced, and the text of each section."""

    VOID = ("meta", "line", "polyline", "rect", "br", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self._open: list[str] = []
        self._section = ""
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)
        if tag in ("section", "header"):
            self._section = dict(attrs).get("id") or tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.sections[self._section] = self.sections.get(self._section, "") + data

    def attributes(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)


def page_of(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_report_is_written_at_the_end_of_a_run(finished_run: Path) -> None:
    page = page_of(finished_run)
    assert {"curves", "scores", "errors", "sentences", "attention", "data", "recipe", "commands"} <= set(
        page.sections
    )
    scores = json.loads((finished_run / "model" / "scores.json").read_text())
    assert f"{scores['test']['chrf']['value']:.2f}" in page.sections["scores"]
    assert scores["test"]["bleu"]["signature"] in page.sections["scores"]
    assert re.search(r"\d\.\d\d to \d+\.\d\d", page.sections["scores"])
    assert "±" not in page.sections["scores"]
    assert f"dev bleu{scores['dev']['bleu']['value']:.2f}" in page.sections["header"]
    assert "Training loss" in page.sections["curves"]
    assert re.search(r"clip: 5(\.0)?command line", page.sections["recipe"])
    assert "seqx run" in page.sections["commands"]


def test_report_shows_conclusions_and_the_inputs_of_mistakes(finished_run: Path) -> None:
    page = page_of(finished_run)
    assert "The most frequent mistake on test is " in page.sections["conclusions"]
    number, text = re.search(r"number (\d+)[^\n]*?([A-Z][^\n]*\.)", page.sections["errors"]).groups()  # type: ignore[union-attr]
    english = [english for english, _ in Sample(test=6).rows("test")]
    assert text.endswith(english[int(number) - 1][-60:])


def test_ranking_counts_ties_and_shows_long_sentences_first() -> None:
    texts = ["a b", "c d e f", "g h i", "j k", "l m n o p"]
    answers = [seqx.Answer(input=text, output="x", reference="x" if text == "j k" else "y") for text in texts]
    task: Any = SimpleNamespace(
        answer_scores=lambda each: [
            {"exact": seqx.Score(value=100.0 * (a.output == a.reference), signature="")} for a in each
        ],
        draw_difference=lambda _: (),
    )
    ranking = rank_answers(task, answers)
    assert ranking is not None
    assert (ranking.tied_worst, ranking.tied_best) == (4, 1)
    assert [row.input for row in ranking.worst][:4] == ["l m n o p", "c d e f", "g h i", "a b"]


def test_report_needs_no_other_file_and_no_mouse(finished_run: Path) -> None:
    text = (finished_run / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(text) < report.MAX_BYTES
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", text)
    assert not re.findall(r"url\(|@import|https?://", text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(link["href"])[1:] for link in page.attributes("a")} <= set(ids)
    assert {label["for"] for label in page.attributes("label")} == {
        select["id"] for select in page.attributes("select")
    }
    images = [svg for svg in page.attributes("svg") if svg.get("aria-hidden") != "true"]
    assert images
    assert all(svg.get("aria-label") for svg in images)
    for attributes in page.attributes("div"):
        assert "scrolls" not in (attributes.get("class") or "") or attributes.get("tabindex") == "0"


def test_report_escapes_text_and_shows_control_characters(run: Path) -> None:
    outputs = (run / "outputs" / "test.txt").read_text().splitlines()
    (run / "outputs" / "test.txt").write_text("\n".join([HOSTILE.replace("\n", ""), *outputs[1:]]) + "\n")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "noticed", "step": 6, "what": HOSTILE}) + "\n")
    assert done("report", run) == "run/report.html\n"
    text = (run / "report.html").read_text(encoding="utf-8")
    assert text.count("<script") == 1
    assert "\x00" not in text
    assert "\x1b" not in text
    assert visible(HOSTILE) in page_of(run).sections["curves"]


def test_report_of_an_unfinished_run_shows_what_is_known(run: Path) -> None:
    done("report", unfinished(run))
    page = page_of(run)
    assert "not finished" in page.sections["header"]
    assert "scores of its last validation" in page.sections["scores"]
    assert "the run is not finished, so there are no outputs yet" in page.sections["scores"]
    assert "Continue the run" in page.sections["commands"]
    assert "sentences" not in page.sections


def test_report_of_a_failed_run_has_its_error(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "failed", "error": "OSError", "message": "disk full"}) + "\n")
    done("report", unfinished(run))
    page = page_of(run)
    assert "The run failed (OSError: disk full)." in page.sections["header"]
    assert "seqx replay run 6" in page.sections["commands"]


def test_report_of_an_old_run_without_metrics_and_origins(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "origins.yaml").unlink()
    done("report", run, "--quick")
    page = page_of(run)
    assert "There are no curves" in page.sections["curves"]
    assert "An earlier version of seqx began this run" in page.sections["recipe"]
    assert "written without them (--quick)" in page.sections["scores"]


def test_report_does_not_follow_a_link_in_the_folder_of_a_run(run: Path, tmp_path: Path) -> None:
    """Whoever made the folder may have chosen a file of the user as the target of the link."""
    (tmp_path / "mine").write_text("text")
    (run / "report.html").unlink(missing_ok=True)
    (run / "report.html").symlink_to(tmp_path / "mine")
    done("report", run, "--quick")
    assert (tmp_path / "mine").read_text() == "text"
    assert not (run / "report.html").is_symlink()


def test_report_says_why_outputs_are_not_shown(run: Path) -> None:
    with (run / "outputs" / "test.txt").open("a") as file:
        file.write("one more\n")
    done("report", run)
    assert "has 7 lines, but test has 6 inputs" in page_of(run).sections["scores"]
    assert "has 7 lines, but test has 6 inputs" in refused("errors", run)


def test_report_refuses_a_folder_without_a_run(tmp_path: Path) -> None:
    assert f"{tmp_path}: is not the folder of a run" in refused("report", tmp_path)


def test_error_and_signal_in_a_report_do_not_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError(f"{folder.name} is full")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQX_REPORT")
    monkeypatch.setattr(report, "write_after_run", fail)
    from tests.stories.tiny import seqx as command

    result = command("run", tiny(TINY), "--folder", "run", "training.steps=2", "training.average=1")
    assert result.exit_code == 0
    assert "seqx_run_ended: OSError: run is full; the run is not affected" in result.stderr


def test_errors_prints_groups_with_examples(run: Path) -> None:
    printed = done("errors", run)
    assert printed.startswith("test: 6 of 6 answers differ from their reference\n\n")
    groups = json.loads(done("errors", run, "--json"))["groups"]
    extra = next(group for group in groups if group["category"] == "extra words")
    assert f"  {extra['name']} " in printed.partition("extra words:")[2]
    example = extra["examples"][0]
    assert extra["name"] in example["output"]
    assert example["output"] == (run / "outputs" / "test.txt").read_text().splitlines()[example["number"] - 1]
    assert f"{example['number']}:\n      input:     {example['input']}\n" in printed
    assert f"[[{extra['name']}]]" in printed.partition("extra words:")[2].casefold()
    start, end = example["marks"]["output"][0]
    assert example["output"][start:end].casefold() == extra["name"].casefold()
    assert "input:" not in done("errors", run, "--examples", "0")


def test_errors_refuses_an_unfinished_run(run: Path) -> None:
    assert "the run is not finished, so there are no outputs yet" in refused("errors", unfinished(run))


def test_word_differences_mark_words_of_one_side() -> None:
    output, reference = word_differences("der alte Hund  schläft", "der Hund schläft nicht")
    assert output == [Span("equal", "der"), Span("extra", "alte"), Span("equal", "Hund  schläft")]
    assert reference == [Span("equal", "der"), Span("equal", "Hund schläft"), Span("missing", "nicht")]
    assert word_differences("", "a") == ([], [Span("missing", "a")])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a page of a browser that the tests of this module share, because starting it takes a second."""
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


def open_file(page: Browser, file: Path) -> None:
    """Open a file in a browser, and wait until it is complete."""
    page.open("about:blank")  # otherwise the wait could end with an earlier version of the file
    page.open(address := file.absolute().as_uri())
    page.wait_for(f"location.href == {json.dumps(address)} && document.readyState == 'complete'")


@pytest.mark.slow
def test_report_is_printed_on_few_pages(finished_run: Path, page: Browser) -> None:
    open_file(page, finished_run / "report.html")
    printed = base64.b64decode(page.command("Page.printToPDF")["data"])
    assert 2 <= len(re.findall(rb"/Type */Page\b", printed)) <= 8


@pytest.mark.slow
def test_report_shows_attention_in_a_browser(finished_run: Path, page: Browser) -> None:
    open_file(page, finished_run / "report.html")
    shown_page = page.value("document.documentElement.outerHTML")
    weights = [
        json.loads(str(each["data-weights"]))
        for each in page_of(finished_run).attributes("div")
        if "data-weights" in each
    ]
    first = weights[0][0][0]
    shown = re.findall(r'<li style="--w: (\d+);?">', shown_page)
    assert [*map(int, shown[: len(first)])] == first
    assert 'aria-pressed="true"' in shown_page


BROKEN_WORDS = """(() => {
  const broken = []
  const boxes = ".tile dt, .tile dd, th, td:not(.signature, .wraps, .recipe *)"
  for (const box of document.querySelectorAll(boxes)) {
    const texts = document.createTreeWalker(box, NodeFilter.SHOW_TEXT)
    while (texts.nextNode()) for (const word of texts.currentNode.data.matchAll(/[^\\s-]+/g)) {
      const range = new Range()
      range.setStart(texts.currentNode, word.index)
      range.setEnd(texts.currentNode, word.index + word[0].length)
      const lines = new Set([...range.getClientRects()].map(each => Math.round(each.top)))
      if (lines.size > 1) broken.push(word[0])
    }
  }
  return broken
})()"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["repeated phrase", "word_" * 30])
def test_report_breaks_no_number_and_only_words_that_are_too_wide(
    name: str, run: Path, page: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = report.ScoreRow(
        split="test",
        name="strict_complete_match",
        value="44.848",
        interval="18.25 to 19.73",
        published="",
        signature="nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0",
    )
    group = seqx.MistakeGroup(
        name=name, category="words", count=1_234, total=123_456, unit="occurrences in outputs"
    )
    monkeypatch.setattr(report, "_score_rows", lambda *_: [row] * 2)
    monkeypatch.setattr(run_facts, "tiles_of", lambda _: [("target tokens per second", "1,125,376,000")] * 8)
    monkeypatch.setattr(seqx.Seq2SeqTask, "mistakes", lambda *_: [group])
    file = report.write_report(run, trust=True)
    assert name in file.read_text(encoding="utf-8")
    open_file(page, file)
    for width, columns in ((360, 2), (700, 3), (1200, 4)):
        page.show(width=width, scheme="light")
        assert page.value("document.documentElement.scrollWidth") <= width
        assert page.value(BROKEN_WORDS) == [name] * (len(name) > 100)
        lefts = "[...document.querySelectorAll('.tile')].map(tile => tile.getBoundingClientRect().left)"
        assert page.value(f"new Set({lefts}).size") == columns
        edges = "('.scores'), interval = table.querySelectorAll('td.number')[1], box = table.parentElement"
        assert page.value(
            f"(() => {{ const table = document.querySelector{edges}\n"
            "return interval.getBoundingClientRect().right <= box.getBoundingClientRect().right })()"
        )


def test_excerpts_of_an_example_are_cut_around_the_mark() -> None:
    text = "a" * 100 + " b " + "c" * 300
    answer = seqx.Answer(input="x", output=text, reference="b")
    mistake = seqx.Mistake(index=0, marks={"output": [(101, 102)], "reference": [(0, 1)]})
    shown = dict(excerpts(answer, mistake))
    assert shown["reference"] == [("b", True)]
    assert shown["output"] == [
        ("…", False), ("a" * 59 + " ", False), ("b", True), (" " + "c" * 59, False), ("…", False)
    ]  # fmt: skip
    assert [*marked_parts("abcd", [(1, 3), (2, 3)])] == [("a", False), ("bc", True), ("d", False)]


def test_report_marks_the_mistakes_of_examples_and_scrolls_wide_tables_in_focusable_boxes(
    finished_run: Path,
) -> None:
    html = (finished_run / "report.html").read_text(encoding="utf-8")
    assert "<mark>" in html.partition('id="errors"')[2].partition("</section>")[0]
    boxes = re.findall(r'<div class="(?:scrolls|drawing)[^>]*>', html)
    assert boxes
    assert all('tabindex="0" role="region" aria-label="' in box for box in boxes)
    tables = html.count("<table")
    assert len(re.findall(r'role="region"[^>]*>\s*<table', html)) == tables


def test_differences_of_long_trees_are_complete_and_those_of_longer_texts_end_with_an_ellipsis() -> None:
    reference = f"(TOP (S {' '.join(f'(NP (NN word{i}))' for i in range(200))}))"
    for span in (0, 1):
        spans = word_differences(reference.replace("(NP (NN word199))", "(PP (NN word199))"), reference)[span]
        assert spans[-1].text.endswith("word199))))")
        assert [each.text for each in spans if each.kind != "equal"] == [("(PP", "(NP")[span]]
    output, _ = word_differences("a " * 1300, "a")
    assert output[-1].text == "…"


def test_training_words_are_not_counted_if_reading_the_corpus_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow:
        def fetch(self, _folder: Path, progress: seqx.ProgressReporter, splits: Sequence[str]) -> None:
            with suppress(OSError):  # as a corpus that repeats a failed download
                progress(f"reading {splits}", None)
            raise AssertionError("it was read to the end")

    monkeypatch.setattr(breakdown, "MAX_SECONDS", -1.0)
    assert breakdown._training_words(Slow()) == ({}, 0, False)  # type: ignore[arg-type]
