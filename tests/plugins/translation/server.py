"""A local web server that can answer with the errors of real servers."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


@dataclass
class Site:
    """The files of a server by path, and the answers to the next requests; by default correct ones."""

    files: dict[str, bytes]
    answers: list[Answer] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)  # the range of each request
    url: str = ""


def correct_answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Send the requested bytes."""
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers["Range"] or "")
    start = int(asked[1]) if asked else 0
    if start >= len(content) and asked:
        request.send_error(416)
        return
    request.send_response(206 if asked else 200)
    if asked:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    request.send_header("Content-Length", str(len(content) - start))
    request.end_headers()
    request.wfile.write(content[start:])


def cut(after: int) -> Answer:
    """Return an answer that breaks the connection after some bytes."""

    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        stream, request.wfile = request.wfile, Recorder()  # type: ignore[assignment]
        correct_answer(request, content)
        head, _, body = request.wfile.content.partition(b"\r\n\r\n")  # type: ignore[attr-defined]
        request.wfile = stream
        request.wfile.write(head + b"\r\n\r\n" + body[:after])
        request.close_connection = True

    return answer


class Recorder:
    """A stream that records the bytes that a handler writes."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)

    def flush(self) -> None:
        pass


def without_ranges(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Send the complete file without its size, even if a range was requested."""
    request.send_response(200)
    request.end_headers()
    request.wfile.write(content)
    request.close_connection = True


def without_position(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Send content as a part of the file, without its position."""
    request.send_response(206)
    request.send_header("Content-Range", "bytes */*")
    request.end_headers()
    request.wfile.write(content)
    request.close_connection = True


def status(code: int, reason: str | None = None) -> Answer:
    """Return an answer with an error status."""

    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        request.send_error(code, reason)

    return answer


def redirect(path: str) -> Answer:
    """Return an answer that redirects to `path`."""

    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        request.send_response(302)
        request.send_header("Location", path.encode().decode("latin-1"))
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


@contextmanager
def serving(**files: bytes) -> Iterator[Site]:
    """Serve `files` on a free local port, and yield the server's state."""
    site = Site({f"/{name}": content for name, content in files.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.ranges.append(self.headers["Range"])
            if self.path not in site.files:
                self.send_error(404)
                return
            answer = site.answers.pop(0) if site.answers else correct_answer
            answer(self, site.files[self.path])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
