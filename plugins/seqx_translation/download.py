"""Downloads of large files: interrupted transfers are resumed, and checksums are verified."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import seqx

T = TypeVar("T")

_CHUNK = 1 << 20
_TIMEOUT = 60.0  # maximum seconds without a byte
_MAX_FAILURES = 4  # maximum attempts in a row without new bytes
_MAX_ATTEMPTS = 30  # attempts in total; the next run resumes the download
_RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}  # HTTP status codes worth another attempt
_WEB = ("http://", "https://")
_SHOWN = 200  # maximum characters of a server's message that are shown


class UnreachableError(seqx.UserError):
    """The server cannot be reached, or does not have the file."""


def download(
    url: str,
    file: Path,
    size: int,
    sha256: str,
    progress: seqx.ProgressReporter,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Download the file at `url`, of `size` bytes, to `file`; a partial download is resumed.

    Args:
        url: the address, http or https
        file: the destination; it only exists once its checksum is correct
        size: the number of bytes
        sha256: the checksum, in hexadecimal digits
        progress: receives the fraction that is downloaded
        wait: function that waits for a number of seconds between attempts

    Raises:
        UnreachableError: there is no server, or it does not have the file
        UserError: the content is wrong, or the disk is full
    """
    if file.exists():
        return
    if not url.startswith(_WEB):
        raise seqx.UserError(
            f"{url}: only http and https can be downloaded; put the file into a local folder instead"
        )
    part = file.with_name(f"{file.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _download_part(url, part, size, progress, wait)
        verify(
            part, size, sha256, progress, f"{part} was removed; run again, or set the url of another mirror"
        )
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError as error:
        raise seqx.unwritable(part, error) from error


def verify(file: Path, size: int, sha256: str, progress: seqx.ProgressReporter, advice: str) -> None:
    """Check a file's size and checksum; a wrong `.part` file is removed.

    Raises:
        UserError: size or checksum is wrong; the message has the expected and the actual value, and `advice`
    """
    digest, done = hashlib.sha256(), 0
    actual_size = file.stat().st_size
    if actual_size == size:
        with file.open("rb") as stream:
            for chunk in iter(partial(stream.read, _CHUNK), b""):
                digest.update(chunk)
                done += len(chunk)
                progress(f"checking {file.name}", done / size)
        if digest.hexdigest() == sha256.lower():
            return
    if file.suffix == ".part":
        file.unlink()
    reason = (
        f"its SHA-256 is {digest.hexdigest()}, not {sha256}"
        if actual_size == size
        else f"it has {actual_size:,} bytes, not {size:,}"
    )
    raise seqx.UserError(f"{file.name.removesuffix('.part')} is damaged or another file: {reason}. {advice}")


def _download_part(
    url: str, part: Path, size: int, progress: seqx.ProgressReporter, wait: Callable[[float], None]
) -> None:
    """Repeat attempts until `part` has `size` bytes.

    Raises:
        UnreachableError: too many attempts failed
    """
    failures, reason = 0, ""
    for _ in range(_MAX_ATTEMPTS):
        before = _size(part)
        if before > size:
            part.unlink()
        if before == size:
            return
        reason = _attempt(url, part, size, progress) or "the connection broke off"
        after = _size(part)
        if after == size:
            return
        failures = 0 if after > before else failures + 1
        if failures == _MAX_FAILURES:
            break
        progress(f"downloading {url}: {reason}; trying again", after / size)
        wait(min(60.0, 2.0**failures))
    raise UnreachableError(f"{url}: cannot be downloaded after several attempts ({reason})")


def _attempt(url: str, part: Path, size: int, progress: seqx.ProgressReporter) -> str:
    """Request the missing bytes once; return the reason of a temporary failure, or ""."""
    try:
        for done in _append_response(url, part, size):
            progress(f"downloading {url}", done / size)
    except urllib.error.HTTPError as error:
        reason = _printable(f"HTTP {error.code} {error.reason}")
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)  # the server's file does not begin with the partial file
        elif error.code not in _RETRY_STATUS:
            raise UnreachableError(f"{url}: the server refuses the file ({reason})") from error
        return reason
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        return _printable(str(getattr(error, "reason", "") or error or type(error).__name__))
    return ""


def _append_response(url: str, part: Path, size: int) -> Iterator[int]:
    """Append the bytes of one response to `part`; yield its size after each chunk."""
    have = _size(part)
    headers = {"User-Agent": f"seqx/{seqx.__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with _open(url, headers) as response:
        start, total = _content_range(response)
        if total is not None and total != size:
            raise _different_file(url, f"{total:,} bytes, not {size:,}")
        if start not in (0, have):
            part.unlink(missing_ok=True)  # bytes from another position are useless; start again
            raise http.client.HTTPException(f"requested bytes from {have} on, received bytes from {start} on")
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            done = start
            while chunk := _read(response):
                done += len(chunk)
                if done > size:
                    raise _different_file(url, f"more than {size:,} bytes")
                file.write(chunk)
                yield done


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Handler that follows redirects to http and https addresses only."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.startswith(_WEB):
            raise urllib.error.HTTPError(newurl, code, f"redirects to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Send the request and return the response, after redirects.

    Raises:
        UnreachableError: the address, or that of a redirect, is invalid
    """
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  the scheme was checked
        opener = urllib.request.build_opener(_Redirects)
        answer: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT)
    except ValueError as error:
        reason = _printable(str(error))
        raise UnreachableError(f"{url}: is or redirects to an invalid address ({reason})") from error
    return answer


def _printable(text: str) -> str:
    """Return a server's message without control characters."""
    return "".join(char if char.isprintable() else " " for char in text[:_SHOWN])


def _different_file(url: str, size: str) -> seqx.UserError:
    return seqx.UserError(
        f"{url}: the server's file has {size}, so it is a different file; set the url of another mirror"
    )


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except OSError as error:  # the caller treats other OSErrors as errors of the disk
        raise ConnectionError(str(error) or type(error).__name__) from error


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _content_range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return the position of the response in the file, and the size of the file if the server sends it."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        byte_range, _, total = (response.headers["Content-Range"] or "").removeprefix("bytes ").partition("/")
        start = byte_range.partition("-")[0]
        return _number(start, -1), _number(total, None)
    length = response.headers["Content-Length"]
    return 0, _number(length or "", None)


def _number(text: str, otherwise: T) -> int | T:
    """Parse a number of bytes from a header; return `otherwise` for anything but a 64-bit number."""
    return int(text) if text.isdecimal() and len(text) < len(str(1 << 64)) else otherwise
