"""The page of a server, in headless Chromium if it is installed."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

import seqx
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
    script = server.get("/page.js")[1]
    assert set(re.findall(r'(?<!\.)\bget\("([\w-]+)"\)', script)) <= set(ids)
    for text in (page, script, server.get("/page.css")[1]):
        assert "//" not in text.replace("</", "")


def dom(url: str, folder: Path) -> str:
    """Return the page as Chromium has it after its scripts."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = [chromium, *options, "--virtual-time-budget=10000", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.mark.slow
def test_page_shows_translations_and_attention(server: Server, models: Path, tmp_path: Path) -> None:
    (nbest,) = seqx.load(models / "en-de").with_answers(3).hypotheses([SENTENCE])
    page = dom(f"{server.url}/?model=en-de&q={quote(SENTENCE)}", tmp_path)
    assert f'<p id="best">{nbest.text}</p>' in page
    assert all(f"<td>{text}</td>" in page for text, _ in nbest)
    assert "Rows: target tokens. Columns: source tokens." in page


@pytest.mark.slow
def test_page_shows_trees(server: Server, tmp_path: Path) -> None:
    page = dom(f"{server.url}/?model=parser&q={quote(SENTENCE)}", tmp_path)
    tree = page.partition('id="tree"')[2].partition('id="warnings"')[0]
    assert re.findall("<b>([^<]+)</b>", tree) == SENTENCE.split()
    assert "<span>TOP</span>" in tree
