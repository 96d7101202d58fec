"""The corpus `mtdata`: ids of an index, downloads from a local server with faults, and messages."""

import gzip
import io
import logging
import pickle
import sys
import types
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import seqx
from seqx_text import MTData

TSV = gzip.compress(
    "Die Katze  schläft.\tThe cat sleeps.\nOhne Paar.\t\nDer Hund bellt.\tThe dog barks.\n".encode()
)
PAIRS = [("The cat sleeps.", "Die Katze schläft."), ("The dog barks.", "Der Hund bellt.")]
ROWS = [PAIRS[0], ("", "Ohne Paar."), *PAIRS[1:]]
"""The training rows. The task drops and counts those that lack a text."""


class Server(ThreadingHTTPServer):
    """A server of files. A fault is a status, or "cut" for half of the bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[int | str]] = {}
        self.requests: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        faults = self.server.faults.get(self.path)
        fault = faults.pop(0) if faults else None
        data = self.server.files.get(self.path)
        if isinstance(fault, int) or data is None:
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if fault == "cut" else data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Return a server whose files are in the index of mtdata."""
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("a.de", "Eins\nZwei\n")
            file.writestr("a.en", "One\nTwo\n")
        server.files = {"/a.tsv.gz": TSV, "/b.zip": archive.getvalue(), "/c.tsv.gz": b"no gzip"}
        write_index(monkeypatch, tmp_path / "index", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield server
        server.shutdown()


def write_index(monkeypatch: pytest.MonkeyPatch, folder: Path, address: str) -> None:
    """Write mtdata's own index file with three ids; building the real index would take half a minute."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mtdata"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("MTDATA", str(folder))
    before = logging.getLogger().handlers[:]
    import mtdata
    from mtdata.entry import Entry

    logging.getLogger().handlers[:] = before
    entries = [
        Entry("Test-pairs-1-deu-eng", f"{address}/a.tsv.gz"),
        Entry("Test-archive-1-deu-eng", f"{address}/b.zip", in_paths=["a.de", "a.en"], in_ext="txt"),
        Entry("Test-damaged-1-deu-eng", f"{address}/c.tsv.gz"),
        Entry("Test-missing-1-deu-eng", f"{address}/d.tsv.gz"),
    ]
    module = types.ModuleType("mtdata.index")
    exec("class Index:\n    def __getitem__(self, did): return self.entries[did]", vars(module))
    index: Any = vars(module)["Index"]()
    index.entries = {entry.did: entry for entry in entries}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mtdata.index", module)
        folder.mkdir()
        mtdata.cached_index_file.write_bytes(pickle.dumps(index))


def ignore_progress(activity: str, fraction: float | None) -> None:
    pass


def rows(folder: Path, *names: str, columns: tuple[str, ...] = ("en", "de")) -> list[tuple[str, ...]]:
    corpus = MTData(columns=[*columns], train=[*names])
    corpus.fetch(folder, ignore_progress, ["train"])
    return list(corpus.rows("train"))


@pytest.mark.promise("corpora-of-clients")
def test_mtdata_ids_are_downloaded_once_and_read_in_the_order_of_the_columns(
    server: Server, tmp_path: Path
) -> None:
    handlers = logging.getLogger().handlers[:]
    assert rows(tmp_path, "Test-pairs-1-deu-eng", "Test-archive-1-deu-eng") == [
        *ROWS,
        ("One", "Eins"),
        ("Two", "Zwei"),
    ]
    assert rows(tmp_path, "Test-pairs-1-deu-eng", columns=("deu", "eng")) == [pair[::-1] for pair in ROWS]
    assert sorted(server.requests) == ["/a.tsv.gz", "/b.zip"]
    assert logging.getLogger().handlers == handlers


@pytest.mark.parametrize("faults", [[503], ["cut"], ["cut", 500, 503]])
def test_mtdata_download_is_repeated_after_a_fault(
    server: Server, tmp_path: Path, faults: list[int | str]
) -> None:
    server.faults["/a.tsv.gz"] = [*faults]
    assert rows(tmp_path, "Test-pairs-1-deu-eng") == ROWS
    assert len(server.requests) == len(faults) + 1


def test_mtdata_download_reports_progress(server: Server, tmp_path: Path) -> None:
    reports = list[tuple[str, float | None]]()
    corpus = MTData(columns=["en", "de"], train=["Test-pairs-1-deu-eng"])
    corpus.fetch(tmp_path, lambda activity, fraction: reports.append((activity, fraction)), ["train"])
    assert reports[0] == ("downloading Test-pairs-1-deu-eng", 1.0)


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("Test-pair-1-deu-eng", ("en", "de"), r"no id Test-pair-1-deu-eng; did you mean Test-pairs"),
        ("Test-pairs-1-deu-eng", ("en", "fr"), r"has the languages deu-eng, not en-fr; correct columns"),
        ("Test-pairs-1-deu-eng", ("en", "dx9"), r"columns: .*dx9.*; name languages as in the ids"),
        ("Test-damaged-1-deu-eng", ("en", "de"), r"the file of .* cannot be read \(.+\); remove \S+gz, "),
        ("Test-missing-1-deu-eng", ("en", "de"), r"cannot be downloaded from http.*gz \(404 .*\); check"),
    ],
)  # fmt: skip
def test_mtdata_problems_are_named(
    server: Server, tmp_path: Path, name: str, columns: tuple[str, ...], message: str
) -> None:
    with pytest.raises(seqx.UserError, match=message):
        rows(tmp_path, name, columns=columns)
    assert len(server.requests) <= 1


def test_mtdata_reports_texts_that_cannot_be_ids() -> None:
    corpus = MTData(columns=["en"], train=["a file.tsv"])
    assert [key for key, _ in corpus.setting_errors()] == ["columns", "train.0"]


def test_missing_package_mtdata_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mtdata.index", None)
    with pytest.raises(seqx.UserError, match=r"cannot be imported .* '\.\[mtdata\]'"):
        rows(tmp_path, "Test-pairs-1-deu-eng")
