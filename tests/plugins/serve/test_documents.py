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
        ('<div translate="no">x <div>y</div></div>z', '<div translate="no">x <div>y</div></div>Z'),
        ("<ul><li translate=no>a<li>b</ul>c", "<ul><li translate=no>a<li>B</ul>C"),
        ("<ul><li>a<li translate=no>b</ul>c", "<ul><li>A<li translate=no>b</ul>C"),
        (
            "<ol><li translate=no>a<ul><li>b</ul></li><li>c</ol>",
            "<ol><li translate=no>a<ul><li>b</ul></li><li>C</ol>",
        ),
        (
            "<ul><li translate=no><b>a<p>b<li>c</ul><b>d</b>",
            "<ul><li translate=no><b>a<p>b<li>C</ul><b>D</b>",
        ),
        (
            "<ul><li translate=no>a<div>b<ul></li>c</ul>d</div>e</ul>f",
            "<ul><li translate=no>a<div>b<ul></li>c</ul>d</div>e</ul>F",
        ),
        ("<div><p translate=no>a<p>b</div>c", "<div><p translate=no>a<p>B</div>C"),
        ("<p translate=no>a<br>b<div>c</div>", "<p translate=no>a<br>b<div>C</div>"),
        ("<p><b><i translate=no>a</b>b</p>c", "<p><b><i translate=no>a</b>B</p>C"),
        ("<div><p><code>a</p>b</code></div>c", "<div><p><code>a</p>B</code></div>C"),
        (
            "<table><tr><td translate=no>a<td>b<tr><th translate=no>c<td>d</table>e",
            "<table><tr><td translate=no>a<td>B<tr><th translate=no>c<td>D</table>E",
        ),
        (
            "<table><tr translate=no><td>a<table><tr><td>b</table><td>c<tr><td>d</table>",
            "<table><tr translate=no><td>a<table><tr><td>b</table><td>c<tr><td>D</table>",
        ),
        (
            "<table><tbody translate=no><tr><td>a<tbody><tr><td>b</table>",
            "<table><tbody translate=no><tr><td>a<tbody><tr><td>B</table>",
        ),
        (
            "<dl><dt translate=no>a<dd>b<dd translate=no>c<dt>d</dl>e",
            "<dl><dt translate=no>a<dd>B<dd translate=no>c<dt>D</dl>E",
        ),
        (
            "<select><option translate=no>a<option>b<optgroup translate=no><option>c<optgroup>d</select>",
            "<select><option translate=no>a<option>B<optgroup translate=no><option>c<optgroup>D</select>",
        ),
        ("</ul></p><p translate=no>a</b></ul></p>b", "</ul></p><p translate=no>a</b></ul></p>B"),
        ('<img translate="no">x', '<img translate="no">X'),
        ("<p Translate=NO>x</p>", "<p Translate=NO>x</p>"),
        ("<p>AT&T &copy</p>", "<p>AT&amp;T ©</p>"),
        ("<p>unclosed", "<p>UNCLOSED"),
        ("<b>a</b>&nbsp;<i>b</i>", "<b>A</b>&nbsp;<i>B</i>"),
        ("<b>&#32; a &#xA0;b&nbsp\n&emsp;</b>c", "<b>&#32; A \u00a0B&nbsp\n&emsp;</b>C"),
        ("<code>&nbsp;a&nbsp;</code>", "<code>&nbsp;a&nbsp;</code>"),
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
