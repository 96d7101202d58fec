"""Downloads from a local server with broken connections, errors and wrong bytes."""

import hashlib
import random
import socket
from pathlib import Path

import pytest

import seqx
from seqx_translation.download import UnreachableError, download
from tests.plugins.translation.server import (
    Answer,
    Site,
    correct_answer,
    cut,
    redirect,
    serving,
    status,
    without_position,
    without_ranges,
)

pytestmark = pytest.mark.promise("downloads-are-verified")

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def fetch(site: Site, folder: Path, **changed: str | int) -> list[float]:
    """Download a file; return the seconds waited between attempts."""
    waits: list[float] = []
    sha256, size = str(changed.get("sha256", SHA256)), int(changed.get("size", len(CONTENT)))
    url = site.url + str(changed.get("path", "/file"))
    download(url, folder / "deep" / "file", size, sha256, lambda activity, fraction: None, waits.append)
    assert (folder / "deep" / "file").read_bytes() == CONTENT
    assert [file.name for file in (folder / "deep").iterdir()] == ["file"]
    return waits


def test_download_of_an_existing_file_sends_no_request(tmp_path: Path) -> None:
    with serving(file=CONTENT) as site:
        assert fetch(site, tmp_path) == []
        fetch(site, tmp_path)
        assert site.ranges == [None]


@pytest.mark.parametrize(
    ("answers", "ranges"),
    [
        ([cut(100_000), cut(50_000)], [None, "bytes=100000-", "bytes=150000-"]),
        ([status(503), cut(10), status(500)], [None, None, "bytes=10-", "bytes=10-"]),
        ([cut(100_000), without_ranges], [None, "bytes=100000-"]),
        ([cut(0), cut(0), cut(0)], [None] * 4),
        ([redirect("/file")], [None, None]),
        ([cut(100_000), without_position], [None, "bytes=100000-", None]),
    ],
    ids=["cut twice", "temporary errors", "no ranges", "no bytes", "redirected", "bad ranges"],
)
def test_download_resumes_an_interrupted_transfer(
    tmp_path: Path, answers: list[Answer], ranges: list[str | None]
) -> None:
    with serving(file=CONTENT) as site:
        site.answers = answers
        fetch(site, tmp_path)
        assert site.ranges == ranges


def test_download_resumes_the_part_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.part").write_bytes(CONTENT[:123_456])
    with serving(file=CONTENT) as site:
        fetch(site, tmp_path)
        assert site.ranges == ["bytes=123456-"]
    (tmp_path / "deep" / "file").rename(tmp_path / "deep" / "file.part")
    with serving(file=CONTENT) as site:
        fetch(site, tmp_path)
        assert site.ranges == []


def test_download_removes_bytes_with_a_wrong_checksum(tmp_path: Path) -> None:
    bad = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with serving(file=bad) as site:
        with pytest.raises(seqx.UserError) as caught:
            fetch(site, tmp_path)
        message = str(caught.value)
        assert message.startswith("file is damaged or another file: its SHA-256 is ")
        assert SHA256 in message
        assert hashlib.sha256(bad).hexdigest() in message
        assert "was removed; run again" in message
        assert list((tmp_path / "deep").iterdir()) == []
        site.files["/file"] = CONTENT
        fetch(site, tmp_path)


def test_download_restarts_after_an_unusable_part(tmp_path: Path) -> None:
    part = tmp_path / "deep" / "file.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"more")
    with serving(file=CONTENT) as site:
        fetch(site, tmp_path)
        assert site.ranges == [None]


@pytest.mark.parametrize(
    ("path", "size", "answers", "message"),
    [
        ("/none", len(CONTENT), [], r"/none: the server refuses the file \(HTTP 404 Not Found\)"),
        ("/file", len(CONTENT), [status(403)], r"\(HTTP 403 Forbidden\)"),
        (
            "/file",
            len(CONTENT),
            [status(500)] * 4,
            r"after several attempts \(HTTP 500 Internal Server Error\)",
        ),
        ("/file", len(CONTENT), [cut(0)] * 4, r"after several attempts \(the connection broke off\)"),
        ("/file", 299_999, [], "the server's file has 300,000 bytes, not 299,999, so it is a different file"),
        ("/file", 299_999, [without_ranges], "the server's file has more than 299,999 bytes"),
        ("/file", len(CONTENT), [status(404, "\x1b[31mred\x07")], r"\(HTTP 404  \[31mred \)"),
        ("/file", len(CONTENT), [redirect("ftp://x/y")], r"\(HTTP 302 redirects to ftp://x/y\)"),
        ("/file", len(CONTENT), [redirect("file:///y")], r"\(HTTP 302 "),
        *(
            ("/file", len(CONTENT), [redirect(f"http://{host}/")], "redirects to an invalid address")
            for host in ("[::1", "ä..b", "a" * 70)
        ),
    ],
)
def test_download_reports_an_unavailable_file(
    tmp_path: Path, path: str, size: int, answers: list[Answer], message: str
) -> None:
    with serving(file=CONTENT) as site:
        site.answers = answers
        with pytest.raises(seqx.UserError, match=message):
            fetch(site, tmp_path, path=path, size=size)
        assert not (tmp_path / "deep" / "file").exists()


def test_download_rejects_a_file_of_another_size(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.part").write_bytes(CONTENT[:200_000])
    with (
        serving(file=CONTENT[:100_000]) as site,
        pytest.raises(seqx.UserError, match="has 100,000 bytes, not 300,000"),
    ):
        fetch(site, tmp_path)


def test_download_fails_after_attempts_with_increasing_waits(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        unused = Site({}, url=f"http://127.0.0.1:{closed.getsockname()[1]}")
    waits: list[float] = []
    with pytest.raises(UnreachableError, match="refused"):
        download(
            f"{unused.url}/file", tmp_path / "file", 1, SHA256, lambda activity, fraction: None, waits.append
        )
    assert waits == [2, 4, 8]


def test_download_only_accepts_http_and_https(tmp_path: Path) -> None:
    with pytest.raises(seqx.UserError, match="only http and https"):
        download("file:///etc/passwd", tmp_path / "x", 1, SHA256, lambda activity, fraction: None)


@pytest.mark.parametrize("url", ["http://[", "http://127.0.0.1/ä", "http://a..b/", "http://."])
def test_download_rejects_an_invalid_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="redirects to an invalid address"):
        download(url, tmp_path / "x", 1, SHA256, lambda activity, fraction: None)


def test_download_reports_the_downloaded_fraction(tmp_path: Path) -> None:
    events: list[tuple[str, float | None]] = []
    with serving(file=CONTENT) as site:
        site.answers = [cut(150_000), correct_answer]
        download(
            f"{site.url}/file",
            tmp_path / "f",
            len(CONTENT),
            SHA256,
            lambda *what: events.append(what),
            lambda s: None,
        )
    shares = [share for what, share in events if what.startswith("downloading") and share is not None]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert [share for what, share in events if what.endswith("the connection broke off; trying again")] == [
        0.5
    ]
