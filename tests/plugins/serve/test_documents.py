"""Texts and pages as inputs of a model."""

import contextlib
import time

import pytest

from seqx_serve.documents import read_document


def upper(text: str, format_: str) -> str:
    document = read_document(text, format_)  # type: ignore[arg-type]
    return document.filled([line.upper() for line in document.texts])


def test_document_of_text_has_its_lines_as_inputs() -> None:
    assert read_document("a b\r\n\nc", "text").texts == ["a b", "", "c"]
    assert upper("a <b>\r\n\nc", "text") == "A <B>\n\nC"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>one &amp; <b>two</b>\n three</p>", "<p>ONE &amp; <b>TWO</b>\n THREE</p>"),
        ("a &lt; b &#228;", "A &lt; B Ä"),
        ('<a title="one">x<br/>y</a><!-- c -->', '<a title="one">X<br/>Y</a><!-- c -->'),
        ("<!DOCTYPE html><?x y><script>if (a < b) c</script>d", None),
        (
            "<style>a {b: c}</style><code>x <i>y</i></code>z",
            "<style>a {b: c}</style><code>x <i>y</i></code>Z",
        ),
        ('<p translate="no">x <p>y</p></p>z', '<p translate="no">x <p>y</p></p>Z'),
        ('<img translate="no">x', '<img translate="no">X'),
        ("<p Translate=NO>x</p>", "<p Translate=NO>x</p>"),
        ("<p>AT&T &copy</p>", "<p>AT&amp;T ©</p>"),
        ("<p>unclosed", "<p>UNCLOSED"),
        ("", ""),
        ("a</>b</>", "A</>B</>"),
        ("<p>a </> b <3 c < d</p>", "<p>A </> B &lt;3 C &lt; D</p>"),
        ("x <!-- y", "X <!-- y"),
        ("x <b y", "X <b y"),
        ("x </b", "X </b"),
        ("a </script>b", "A </script>B"),
        ("<script>'</'+'script>' </></script>a", "<script>'</'+'script>' </></script>A"),
    ],
)
def test_document_of_page_has_its_texts_as_inputs(page: str, expected: str | None) -> None:
    if expected is None:
        assert upper(page, "html").lower() == page.lower()
    else:
        assert upper(page, "html") == expected


@pytest.mark.parametrize(
    "page",
    [
        "<code>a?x=1&y=2&copy=3 &lt</code>",
        "<DIV\n>x</DIV\n><svg><foreignObject>x</foreignObject></svg>",
        "<!doctype HTML><![CDATA[x]]><?php 1 ?></ p><br /><plaintext>x",
        "\r\n <p> x\n\n </p>\n<script>\n'</p>'&amp</script><!-- <p>\n -->",
    ],
)
def test_document_with_unchanged_texts_is_the_page(page: str) -> None:
    document = read_document(page, "html")
    assert document.filled(document.texts) == page


def test_document_escapes_answers_in_pages() -> None:
    assert read_document("<p>x</p>", "html").filled(["<script> &"]) == "<p>&lt;script&gt; &amp;</p>"


@pytest.mark.parametrize(
    "text", ["<", "<!", "<!--", "</", "<a ", "<a b='", "&", "<![", "<script>", "&#1", "a" + " " * 25_000]
)
def test_document_of_hostile_page_is_read_quickly(text: str) -> None:
    page = (text * 50_000)[:50_000]
    start = time.process_time()
    with contextlib.suppress(ValueError):  # it has too many tags
        read_document(page, "html")
    assert time.process_time() - start < 3
