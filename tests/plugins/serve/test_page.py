"""The page of a server, in headless Chromium if it is installed."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

import seqx
from tests.browser import Browser, browser
from tests.server import Server, serving

for extra in ("starlette", "uvicorn", "prometheus_client", "python_multipart"):
    pytest.importorskip(extra)

SENTENCE = "the dog sees a man ."


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with serving(models / "en-de", models / "parser") as server:
        yield server


class Elements(HTMLParser):
    """The attributes of the elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_page_labels_its_controls_and_uses_no_other_host(server: Server) -> None:
    status, page = server.get("/")
    assert status == 200
    elements = Elements(page).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    labelled = {attributes["for"] for tag, attributes in elements if tag == "label"}
    controls = {attributes["id"] for tag, attributes in elements if tag in ("textarea", "select", "input")}
    assert controls == labelled
    tables = [attributes for tag, attributes in elements if tag == "table"]
    assert {attributes.get("aria-labelledby") for attributes in tables} <= {*ids}, (
        "screen readers name tables"
    )
    script = server.get("/page.js")[1]
    assert set(re.findall(r'(?<!\.)\bget\("([\w-]+)"\)', script)) <= set(ids)
    for text in (page, script, server.get("/page.css")[1]):
        assert "//" not in text.replace("</", "")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


def ask(page: Browser, address: str) -> None:
    """Open a page whose address has a text, and wait for the answers."""
    page.open("about:blank")
    page.wait_for("location.href == 'about:blank'")
    page.open(address)
    page.wait_for("document.getElementById('status')?.textContent.includes('answer')")


@pytest.mark.slow
def test_page_shows_translations_and_attention(server: Server, models: Path, page: Browser) -> None:
    (nbest,) = seqx.load(models / "en-de").with_answers(3).hypotheses([SENTENCE])
    ask(page, f"{server.url}/?model=en-de&q={quote(SENTENCE)}")
    assert page.text("#best") == nbest.text
    assert [
        *page.value("[...document.querySelectorAll('#nbest td:nth-child(2)')].map(x => x.textContent)")
    ] == [text for text, _ in nbest]
    assert "Rows: target tokens. Columns: source tokens." in page.text("#legend")


@pytest.mark.slow
def test_page_shows_trees(server: Server, page: Browser) -> None:
    ask(page, f"{server.url}/?model=parser&q={quote(SENTENCE)}")
    words = page.value("[...document.querySelectorAll('#tree b')].map(word => word.textContent)")
    assert words == SENTENCE.split()
    assert page.text("#tree span") == "TOP"
    page.show(width=360, scheme="dark")
    page.value("document.getElementById('form').requestSubmit()")
    root = "document.querySelector('#tree span').getBoundingClientRect()"
    page.wait_for(f"document.getElementById('tree').scrollLeft > 0 && {root}.left > 0 && {root}.right < 360")


@pytest.mark.slow
def test_page_shows_each_step_of_the_search_by_keyboard(server: Server, page: Browser) -> None:
    ask(page, f"{server.url}/?model=en-de&q={quote(SENTENCE)}")
    steps = server.post("/explain", q=SENTENCE, model="en-de")[1]["searches"][0]["steps"]
    assert page.text("#step-text").startswith(f"Step 1 of {len(steps)}: 3 kept")
    page.value("document.getElementById('step').focus()")
    page.press("End", 35)
    page.wait_for(f"document.getElementById('step-text').textContent.startsWith('Step {len(steps)} of')")
    page.value("document.getElementById('previous').focus()")
    page.press("Enter", 13)
    page.wait_for(f"document.getElementById('step-text').textContent.startsWith('Step {len(steps) - 1} of')")
    rows = page.value(
        "[...document.querySelectorAll('#beam tbody tr')]"
        ".map(row => [...row.children].map(cell => cell.textContent))"
    )
    shown = steps[len(steps) - 2]
    assert [(row[1].split()[-1], float(row[3])) for row in rows] == [
        (each["token"], round(each["score"], 4)) for each in shown
    ]
    outcomes = {"kept": "kept", "finished": "finished", "pruned": "dropped"}
    assert [row[2].partition(",")[0] for row in rows] == [outcomes[each["outcome"]] for each in shown]
    assert len(rows[0][1].split()) == len(steps) - 1


@pytest.mark.slow
def test_page_offers_constraints(server: Server, page: Browser) -> None:
    ask(page, f"{server.url}/?model=en-de&q={quote(SENTENCE)}&prefix=Hu")
    assert page.text("#best").startswith("Hu")
    page.type("#require", "au")
    page.value("document.getElementById('form').requestSubmit()")
    page.wait_for("document.getElementById('best').textContent.includes('au')")
